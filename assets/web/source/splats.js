// 3D Gaussians as instanced quads, by the rules of dream3d's own kernels: EWA projection with 0.3 pixels of blur that
// costs no light, alpha at most 0.999 and not drawn below 1/255, composited back to front in display sRGB.

import * as THREE from "three";

const C0 = 0.28209479177387814;
const DEGREES = { 0: 0, 9: 1, 24: 2, 45: 3 }; // f_rest values to degree of the harmonics

/** Named float columns of a binary little-endian .ply of vertices. Throws where it is anything else. */
export function parsePly(bytes) {
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, 65536));
  const end = /\nend_header\r?\n/.exec(text);
  const count = /\nelement vertex (\d+)/.exec(text);
  if (!end || !count || !text.startsWith("ply\nformat binary_little_endian 1.0")) throw new Error("splats.ply is no .ply of Gaussians");
  const names = [...text.slice(0, end.index).matchAll(/\nproperty float (\w+)/g)].map((match) => match[1]);
  const size = Number(count[1]);
  const start = end.index + end[0].length;
  if (bytes.length - start !== 4 * size * names.length) throw new Error("splats.ply is not complete");
  const values = new Float32Array(bytes.slice(start).buffer);
  const at = Object.fromEntries(names.map((name, index) => [name, index]));
  return { count: size, stride: names.length, at, values, degree: DEGREES[names.filter((n) => n.startsWith("f_rest_")).length] };
}

/** One row of texels per Gaussian: centre and opacity, three axes with red, green and blue, then harmonics. */
function pack({ count, stride, at, values, degree }, limit) {
  const rest = (degree + 1) ** 2 - 1;
  const texels = 4 + rest;
  const perRow = Math.floor(Math.min(limit, 4096) / texels);
  const width = perRow * texels;
  const height = Math.max(1, Math.ceil(count / perRow));
  const data = new Float32Array(4 * width * height);
  const centres = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    const get = (name) => values[i * stride + at[name]];
    const out = 4 * (Math.floor(i / perRow) * width + (i % perRow) * texels);
    const centre = [get("x"), get("y"), get("z")];
    centres.set(centre, 3 * i);
    data.set([...centre, 1 / (1 + Math.exp(-get("opacity")))], out);
    let [w, x, y, z] = [0, 1, 2, 3].map((k) => get(`rot_${k}`));
    const norm = Math.hypot(w, x, y, z) || 1;
    [w, x, y, z] = [w / norm, x / norm, y / norm, z / norm];
    const columns = [
      [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
      [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
      [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
    ];
    columns.forEach((column, k) => {
      const scale = Math.exp(get(`scale_${k}`));
      data.set([...column.map((v) => v * scale), 0.5 + C0 * get(`f_dc_${k}`)], out + 4 + 4 * k);
    });
    for (let k = 0; k < rest; k++) {
      for (let c = 0; c < 3; c++) data[out + 16 + 4 * k + c] = get(`f_rest_${c * rest + k}`); // channel by channel
    }
  }
  const texture = new THREE.DataTexture(data, width, height, THREE.RGBAFormat, THREE.FloatType);
  texture.needsUpdate = true;
  return { texture, centres, perRow, texels };
}

const VERTEX = /* glsl */ `
precision highp float;
precision highp int;
uniform highp sampler2D data;
uniform int perRow, texels, degree;
uniform vec2 viewport;
uniform vec3 eye;
in uint order;
out vec2 place;
out vec4 paint;

vec4 texel(int index, int part) { return texelFetch(data, ivec2((index % perRow) * texels + part, index / perRow), 0); }

vec3 harmonics(int index, vec3 d) {
  float x = d.x, y = d.y, z = d.z, xx = x * x, yy = y * y, zz = z * z;
  vec3 sum = 0.4886025119029199 * (-y * texel(index, 4).rgb + z * texel(index, 5).rgb - x * texel(index, 6).rgb);
  if (degree < 2) return sum;
  sum += 1.0925484305920792 * (x * y * texel(index, 7).rgb - y * z * texel(index, 8).rgb - x * z * texel(index, 10).rgb);
  sum += 0.31539156525252005 * (3.0 * zz - 1.0) * texel(index, 9).rgb + 0.5462742152960396 * (xx - yy) * texel(index, 11).rgb;
  if (degree < 3) return sum;
  sum += -0.5900435899266435 * (y * (3.0 * xx - yy) * texel(index, 12).rgb + x * (xx - 3.0 * yy) * texel(index, 18).rgb);
  sum += 2.890611442640554 * x * y * z * texel(index, 13).rgb + 1.445305721320277 * z * (xx - yy) * texel(index, 17).rgb;
  sum += -0.4570457994644658 * (5.0 * zz - 1.0) * (y * texel(index, 14).rgb + x * texel(index, 16).rgb);
  return sum + 0.3731763325901154 * z * (5.0 * zz - 3.0) * texel(index, 15).rgb;
}

void main() {
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0); // nowhere
  int index = int(order);
  vec4 first = texel(index, 0), a = texel(index, 1), b = texel(index, 2), c = texel(index, 3);
  vec3 seen = (viewMatrix * vec4(first.xyz, 1.0)).xyz;
  float depth = -seen.z;
  if (depth < 0.01) return;
  float focal = 0.5 * viewport.y * projectionMatrix[1][1];
  vec2 slope = clamp(seen.xy / depth, -0.65 * viewport / focal, 0.65 * viewport / focal);
  mat3 spread = mat3(viewMatrix) * mat3(a.xyz, b.xyz, c.xyz);
  mat3 rows = transpose(spread);
  vec3 u = focal / depth * (rows[0] + slope.x * rows[2]), v = focal / depth * (rows[1] + slope.y * rows[2]);
  float uu = dot(u, u), uv = dot(u, v), vv = dot(v, v), e = 0.3;
  vec3 normal = cross(u, v);
  float area = dot(normal, normal), det = area + e * (uu + vv) + e * e;
  float opacity = first.w * sqrt((area + 1e-6) / (det + 1e-6));
  float reach = 2.0 * log(255.0 * opacity);
  if (!(reach > 0.0)) return;
  float middle = 0.5 * (uu + vv) + e, half_ = sqrt(0.25 * (uu - vv) * (uu - vv) + uv * uv);
  float longest = middle + half_, shortest = det / longest;
  float angle = half_ > 1e-9 ? 0.5 * atan(2.0 * uv, uu - vv) : 0.0;
  vec2 along = vec2(cos(angle), sin(angle));
  place = sqrt(reach) * position.xy;
  vec2 offset = place.x * sqrt(longest) * along + place.y * sqrt(shortest) * vec2(-along.y, along.x);
  vec3 colour = vec3(a.w, b.w, c.w);
  if (degree > 0) colour += harmonics(index, normalize(first.xyz - eye));
  paint = vec4(clamp(colour, 0.0, 1.0), opacity);
  gl_Position = projectionMatrix * vec4(seen, 1.0);
  gl_Position.xy += 2.0 * offset / viewport * gl_Position.w;
}`;

const FRAGMENT = /* glsl */ `
precision highp float;
in vec2 place;
in vec4 paint;
out vec4 colour;

void main() {
  float alpha = min(0.999, paint.a * exp(-0.5 * dot(place, place)));
  if (alpha < 1.0 / 255.0) discard;
  colour = vec4(paint.rgb * alpha, alpha);
}`;

/** A drawable of Gaussians in the world's own axes; `sort(camera)` before drawing. */
export class Splats extends THREE.Mesh {
  constructor(bytes, maxTextureSize) {
    const ply = parsePly(bytes);
    const { texture, centres, perRow, texels } = pack(ply, maxTextureSize);
    const geometry = new THREE.InstancedBufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array([-1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 1, 0]), 3));
    geometry.setIndex([0, 1, 2, 0, 2, 3]);
    geometry.setAttribute("order", new THREE.InstancedBufferAttribute(new Uint32Array(ply.count), 1).setUsage(THREE.DynamicDrawUsage));
    geometry.instanceCount = ply.count;
    const material = new THREE.ShaderMaterial({
      glslVersion: THREE.GLSL3,
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      uniforms: {
        data: { value: texture },
        perRow: { value: perRow },
        texels: { value: texels },
        degree: { value: ply.degree },
        viewport: { value: new THREE.Vector2() },
        eye: { value: new THREE.Vector3() },
      },
      transparent: true,
      depthTest: false,
      depthWrite: false,
      premultipliedAlpha: true,
      blending: THREE.CustomBlending,
      blendSrc: THREE.OneFactor,
      blendDst: THREE.OneMinusSrcAlphaFactor,
    });
    super(geometry, material);
    this.frustumCulled = false;
    this.count = ply.count;
    this.centres = centres;
    this.keys = new Uint16Array(ply.count);
    this.forward = new THREE.Vector3();
  }

  /** Farthest first, by the camera's z: a counting sort, done again only where the direction has changed. */
  sort(camera, viewport) {
    const forward = camera.getWorldDirection(new THREE.Vector3());
    this.material.uniforms.viewport.value.copy(viewport);
    this.material.uniforms.eye.value.copy(camera.position);
    if (forward.equals(this.forward)) return;
    this.forward.copy(forward);
    const { count, centres, keys } = this;
    const depth = (i) => forward.x * centres[3 * i] + forward.y * centres[3 * i + 1] + forward.z * centres[3 * i + 2];
    let [low, high] = [Infinity, -Infinity];
    for (let i = 0; i < count; i++) [low, high] = [Math.min(low, depth(i)), Math.max(high, depth(i))];
    const scale = 65535 / Math.max(high - low, 1e-9);
    const starts = new Uint32Array(65537);
    for (let i = 0; i < count; i++) {
      keys[i] = (high - depth(i)) * scale;
      starts[keys[i] + 1]++;
    }
    for (let k = 0; k < 65536; k++) starts[k + 1] += starts[k];
    const order = this.geometry.getAttribute("order");
    for (let i = 0; i < count; i++) order.array[starts[keys[i]]++] = i;
    order.needsUpdate = true;
  }
}
