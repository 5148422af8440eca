// The light of renderers/_light.py's "studio": a dim room that is brighter above, a key light, a weaker one opposite, one behind and
// above; mean radiance 1. Drawn once in the house's axes and filtered by three, whose materials sum it as ours do.

import * as THREE from "three";

const LAMPS = [
  { way: [0.7, -0.7, 0.6], size: 0.45, colour: [9.0, 8.6, 8.0] },
  { way: [-0.9, -0.3, 0.25], size: 0.6, colour: [2.0, 2.2, 2.5] },
  { way: [0.2, 0.9, 0.8], size: 0.3, colour: [6.0, 6.0, 6.2] },
].map((lamp) => ({ ...lamp, way: new THREE.Vector3(...lamp.way).normalize() }));

function radiance(way) {
  const light = [0, 1, 2].map(() => 0.35 + 0.25 * way.z);
  for (const lamp of LAMPS) {
    const share = 1 / (1 + Math.exp(-40 * (way.dot(lamp.way) - Math.cos(lamp.size))));
    for (let c = 0; c < 3; c++) light[c] += share * lamp.colour[c];
  }
  return light;
}

/** The mean over the sphere and the colours. */
function mean() {
  const [rows, columns] = [64, 128];
  const way = new THREE.Vector3();
  let [sum, whole] = [0, 0];
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      way.setFromSphericalCoords(1, (Math.PI * (r + 0.5)) / rows, (2 * Math.PI * c) / columns);
      const area = Math.sqrt(way.x * way.x + way.z * way.z);
      way.set(way.x, way.z, way.y); // three's poles are on y
      sum += (area * radiance(way).reduce((a, b) => a + b)) / 3;
      whole += area;
    }
  }
  return sum / whole;
}

const VERTEX = "out vec3 way; void main() { way = position; gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0); }";
const FRAGMENT = /* glsl */ `
precision highp float;
in vec3 way;
out vec4 colour;
uniform vec3 ways[3], colours[3];
uniform float edges[3], mean;

void main() {
  vec3 d = normalize(way), light = vec3(0.35 + 0.25 * d.z);
  for (int i = 0; i < 3; i++) light += colours[i] / (1.0 + exp(-40.0 * (dot(d, ways[i]) - edges[i])));
  colour = vec4(light / mean, 1.0);
}`;

/** The texture for `scene.environment`. */
export function studio(renderer) {
  const material = new THREE.ShaderMaterial({
    glslVersion: THREE.GLSL3,
    vertexShader: VERTEX,
    fragmentShader: FRAGMENT,
    side: THREE.BackSide,
    depthWrite: false,
    toneMapped: false,
    uniforms: {
      ways: { value: LAMPS.map((lamp) => lamp.way) },
      colours: { value: LAMPS.map((lamp) => new THREE.Vector3(...lamp.colour)) },
      edges: { value: LAMPS.map((lamp) => Math.cos(lamp.size)) },
      mean: { value: mean() },
    },
  });
  const scene = new THREE.Scene();
  scene.add(new THREE.Mesh(new THREE.SphereGeometry(10, 64, 32), material));
  const maker = new THREE.PMREMGenerator(renderer);
  const { texture } = maker.fromScene(scene, 0, 0.1, 100);
  maker.dispose();
  return texture;
}
