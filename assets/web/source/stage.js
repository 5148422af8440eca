// The world of an asset: z up, metres, the front towards -y; one camera for splats and mesh, so switching never jumps.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { Splats } from "./splats.js";

const FOVY = 40;
const DISTANCE = 3;
const RADIANS = Math.PI / 180;

export class Stage {
  /** `splats` and `mesh` are the files' bytes or null. */
  constructor(canvas, { splats, mesh }) {
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, powerPreference: "high-performance" });
    this.camera = new THREE.PerspectiveCamera(FOVY, 1, 0.01, 100);
    this.camera.up.set(0, 0, 1);
    this.scene = new THREE.Scene();
    this.viewport = new THREE.Vector2();
    this.bytes = { splats, mesh };
    this.parts = {};
    this.waiting = false;
    this.look(0, 15);
    this.controls = new OrbitControls(this.camera, canvas);
    Object.assign(this.controls, { enableDamping: true, dampingFactor: 0.08, minDistance: 0.3, maxDistance: 12, autoRotateSpeed: -2 });
    this.controls.addEventListener("change", () => this.ask());
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.resize();
  }

  /** Show "splats" or "mesh"; the file is read the first time. */
  async show(kind) {
    this.parts[kind] ??= kind === "splats" ? new Splats(this.bytes.splats, this.renderer.capabilities.maxTextureSize) : await readMesh(this.bytes.mesh, this.renderer);
    this.scene.clear();
    this.scene.add(this.parts[kind]);
    this.draw();
  }

  /** What a part consists of, in words. */
  facts(kind) {
    const part = this.parts[kind];
    const number = (n) => n.toLocaleString("en");
    if (!part) return "";
    if (kind === "splats") return `${number(part.count)} Gaussians`;
    let triangles = 0;
    const textures = new Set();
    part.traverse((node) => {
      if (!node.isMesh) return;
      triangles += (node.geometry.index ?? node.geometry.attributes.position).count / 3;
      if (node.material.map) textures.add(`${node.material.map.image.width} px texture`);
    });
    return [`${number(triangles)} triangles`, ...textures].join(" \u00b7 ");
  }

  wire(on) {
    this.parts.mesh?.traverse((node) => node.isMesh && (node.material.wireframe = on));
    this.ask();
  }

  background(colour) {
    this.renderer.setClearColor(colour);
    this.ask();
  }

  /** The camera at an azimuth and elevation in degrees, from the distance of our own pictures. */
  look(azimuth, elevation) {
    const [a, e] = [azimuth * RADIANS, Math.min(89.9, Math.max(-89.9, elevation)) * RADIANS];
    this.camera.position.set(Math.sin(a) * Math.cos(e), -Math.cos(a) * Math.cos(e), Math.sin(e)).multiplyScalar(DISTANCE);
    this.camera.lookAt(0, 0, 0);
    if (this.controls) {
      this.controls.target.set(0, 0, 0);
      this.controls.update();
      this.ask();
    }
  }

  turn(on) {
    this.controls.autoRotate = on;
    this.ask();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.renderer.domElement.parentElement;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.renderer.setSize(width, height, false);
    this.renderer.getDrawingBufferSize(this.viewport);
    const aspect = width / height; // the lens of the house spans the shorter side
    this.camera.aspect = aspect;
    this.camera.fov = aspect >= 1 ? FOVY : (2 * Math.atan(Math.tan((FOVY / 2) * RADIANS) / aspect)) / RADIANS;
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  ask() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.controls.update(); // asks again while it moves
      this.draw();
      if (this.controls.autoRotate) this.ask();
    });
  }

  draw() {
    this.camera.updateMatrixWorld();
    for (const part of this.scene.children) part.sort?.(this.camera, this.viewport);
    this.renderer.render(this.scene, this.camera);
  }
}

async function readMesh(bytes, renderer) {
  const { scene } = await new GLTFLoader().parseAsync(bytes.slice().buffer, "");
  scene.rotation.x = Math.PI / 2; // glTF is y up
  scene.traverse((node) => {
    if (node.isMesh && node.material.map) node.material.map.anisotropy = renderer.capabilities.getMaxAnisotropy();
  });
  return scene;
}
