// The world of an asset: z up, metres, the front towards -y; one camera for splats and mesh, so switching never jumps.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { studio } from "./light.js";
import { Splats } from "./splats.js";

const FOVY = 40;
const DISTANCE = 3;
const RADIANS = Math.PI / 180;
const SLOW = 60; // milliseconds a picture of a movement may take before it is drawn coarser
const COARSEST = 0.4; // of a side's pixels
const REST = 250; // milliseconds without a movement until everything is sharp again
const MANY = 50000; // Gaussians from which on the first picture is a coarse one

export class Stage {
  /** In an element; `splats`, `moments` of them and `mesh` are bytes or null. */
  constructor(home, { splats, moments, mesh }) {
    this.home = home;
    this.camera = new THREE.PerspectiveCamera(FOVY, 1, 0.01, 100);
    this.camera.up.set(0, 0, 1);
    this.scene = new THREE.Scene();
    this.viewport = new THREE.Vector2();
    this.bytes = { splats, moments, mesh };
    this.parts = {};
    this.renderers = {}; // by kind: only a mesh wants its edges smoothed, which costs splats a third of their speed
    this.sharpness = 1;
    this.still = false; // whether what is seen is what is asked for, with all its pixels
    this.look(0, 15);
    this.controls = new OrbitControls(this.camera, home);
    Object.assign(this.controls, { enableDamping: true, dampingFactor: 0.08, minDistance: 0.3, maxDistance: 12, autoRotateSpeed: -2 });
    this.controls.addEventListener("change", () => this.ask());
    new ResizeObserver(() => this.ask()).observe(home);
  }

  /** Show "splats" or "mesh"; the file is read the first time. */
  async show(kind) {
    this.renderers[kind] ??= new THREE.WebGLRenderer({ antialias: kind === "mesh", powerPreference: "high-performance" });
    const renderer = this.renderers[kind];
    this.parts[kind] ??= kind === "splats" ? this.readSplats(renderer) : await readMesh(this.bytes.mesh, renderer);
    [this.renderer, this.part] = [renderer, this.parts[kind]];
    this.scene.clear();
    this.scene.add(this.part);
    if (this.part.lit) this.scene.environment ??= studio(renderer);
    renderer.setClearColor(this.colour);
    if (this.part.count > MANY) this.soften(0.5);
    this.settling = true; // the first picture also compiles
    this.draw();
    this.home.replaceChildren(renderer.domElement);
  }

  readSplats(renderer) {
    const { splats, moments } = this.bytes;
    this.bytes.splats = this.bytes.moments = null; // packed into textures
    return new Splats(splats, renderer.capabilities.maxTextureSize, moments);
  }

  /** How long what is shown moves; 0 where it stands still. */
  get seconds() {
    return this.part?.seconds ?? 0;
  }

  seek(seconds) {
    if (!this.seconds) return;
    this.part.seek(Math.min(seconds, this.seconds));
    this.ask();
  }

  /** What a part consists of, in words. */
  facts(kind) {
    const part = this.parts[kind];
    const number = (n) => n.toLocaleString("en");
    if (!part) return "";
    const moves = part.seconds ? [`${number(Math.round(100 * part.seconds) / 100)} s`] : [];
    if (kind === "splats") return [`${number(part.count)} Gaussians`, ...moves].join(" \u00b7 ");
    let triangles = 0;
    const more = new Set();
    part.traverse((node) => {
      if (!node.isMesh) return;
      triangles += (node.geometry.index ?? node.geometry.attributes.position).count / 3;
      if (node.material.map) more.add(`${node.material.map.image.width} px texture`);
      if (node.isSkinnedMesh) more.add(`${node.skeleton.bones.length} joints`);
      if (node.morphTargetInfluences) more.add(`${node.morphTargetInfluences.length} shapes`);
    });
    return [`${number(triangles)} triangles`, ...more, ...moves].join(" \u00b7 ");
  }

  /** What is shown as a data URL, with all its pixels. */
  picture() {
    this.sharpness = 1;
    this.draw(); // the buffer is only whole right after drawing
    return this.renderer.domElement.toDataURL("image/png");
  }

  wire(on) {
    this.parts.mesh?.traverse((node) => node.isMesh && (node.material.wireframe = on));
    this.ask();
  }

  background(colour) {
    this.colour = colour;
    this.renderer?.setClearColor(colour);
    this.ask();
  }

  /** The camera at an azimuth and elevation in degrees, from the distance of our own pictures. */
  look(azimuth, elevation, distance = DISTANCE) {
    const [a, e] = [azimuth * RADIANS, Math.min(89.9, Math.max(-89.9, elevation)) * RADIANS];
    this.camera.position.set(Math.sin(a) * Math.cos(e), -Math.cos(a) * Math.cos(e), Math.sin(e)).multiplyScalar(distance);
    if (this.controls) this.camera.position.add(this.controls.target.set(0, 0, 0));
    this.camera.lookAt(0, 0, 0);
    this.controls?.update();
    if (this.controls) this.ask();
  }

  /** Where the camera is now: azimuth and elevation in degrees, distance, around what it looks at. */
  get place() {
    const away = this.camera.position.clone().sub(this.controls.target);
    const distance = away.length();
    return { azimuth: Math.atan2(away.x, -away.y) / RADIANS, elevation: Math.asin(away.z / distance) / RADIANS, distance };
  }

  /** Further around by degrees, closer by a factor: what keys do. */
  orbit(azimuth, elevation, closer = 1) {
    const target = this.controls.target.clone();
    const { place } = this;
    this.look(place.azimuth + azimuth, place.elevation + elevation, Math.min(12, Math.max(0.3, place.distance / closer)));
    this.controls.target.copy(target);
    this.camera.position.add(target);
    this.controls.update();
  }

  turn(on) {
    this.controls.autoRotate = on;
    this.ask();
  }

  /** The canvas as large as its place, where it is not yet. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.home;
    const sharpness = Math.min(window.devicePixelRatio, 2) * this.sharpness;
    const size = `${width} ${height} ${sharpness}`;
    if (!width || !height || this.renderer.fits === size) return;
    this.renderer.fits = size;
    this.renderer.setPixelRatio(sharpness);
    this.renderer.setSize(width, height, false);
    this.renderer.getDrawingBufferSize(this.viewport);
    const aspect = width / height; // the lens of the house spans the shorter side
    this.camera.aspect = aspect;
    this.camera.fov = aspect >= 1 ? FOVY : (2 * Math.atan(Math.tan((FOVY / 2) * RADIANS) / aspect)) / RADIANS;
    this.camera.updateProjectionMatrix();
  }

  /** Draw at the next frame, or when the picture before is done. */
  ask() {
    this.rest(false);
    if (this.waiting || !this.renderer) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      if (this.busy) return; // asks when done
      this.waiting = false;
      this.moved = performance.now();
      this.controls.update(); // asks again while it moves
      this.draw();
      if (this.controls.autoRotate) this.ask();
    });
  }

  /** Pixels a side from the next picture on, as a share of the screen's; a rest makes everything sharp again. */
  soften(share) {
    this.sharpness = share;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => (performance.now() - this.moved < REST ? this.soften(this.sharpness) : this.sharpen()), REST);
  }

  sharpen() {
    const coarse = this.sharpness < 1 && this.renderer.getPixelRatio() < Math.min(window.devicePixelRatio, 2);
    this.sharpness = 1;
    this.settling = coarse;
    if (coarse) this.ask();
    else this.rest(!this.waiting && !this.busy);
  }

  rest(still) {
    this.still = still;
    this.home.dataset.still = still;
  }

  draw() {
    this.rest(false);
    this.fit();
    this.renderer.getDrawingBufferSize(this.viewport);
    this.camera.updateMatrixWorld();
    for (const part of this.scene.children) part.sort?.(this.camera, this.viewport);
    const began = performance.now();
    this.renderer.render(this.scene, this.camera);
    this.watch(began);
  }

  /** No picture is begun before the last one is done; where one takes too long, the next ones have fewer pixels. */
  watch(began) {
    const gl = this.renderer.getContext();
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    const [number, settling] = [(this.busy = this.drawn = (this.drawn ?? 0) + 1), this.settling];
    this.settling = false;
    gl.flush();
    const done = () => {
      if (fence && gl.clientWaitSync(fence, 0, 0) === gl.TIMEOUT_EXPIRED) return setTimeout(done, 4);
      gl.deleteSync(fence);
      if (number !== this.drawn) return; // another one came between
      this.busy = 0;
      const cost = performance.now() - began;
      if (cost > SLOW && !settling && this.sharpness > COARSEST) this.soften(Math.max(COARSEST, this.sharpness * Math.max(0.5, Math.sqrt(SLOW / cost))));
      if (!this.waiting) return this.rest(this.sharpness === 1);
      this.waiting = false;
      this.ask();
    };
    setTimeout(done, 0);
  }
}

async function readMesh(bytes, renderer) {
  const { scene, animations } = await new GLTFLoader().parseAsync(bytes.slice().buffer, "");
  const part = new THREE.Group();
  part.rotation.x = Math.PI / 2; // glTF is y up
  part.add(scene);
  scene.traverse((node) => {
    if (!node.isMesh) return;
    node.frustumCulled = false; // what moves leaves the bounds it has at rest
    for (const name of ["map", "normalMap", "roughnessMap", "aoMap"]) {
      if (node.material[name]) node.material[name].anisotropy = renderer.capabilities.getMaxAnisotropy();
    }
    part.lit ||= Boolean(node.material.isMeshStandardMaterial);
  });
  if (animations.length) {
    const mixer = new THREE.AnimationMixer(scene);
    const actions = animations.map((clip) => mixer.clipAction(clip).play());
    part.seconds = Math.max(...animations.map((clip) => clip.duration));
    part.seek = (seconds) => {
      for (const action of actions) action.time = Math.min(seconds, action.getClip().duration);
      mixer.update(0);
    };
    part.seek(0);
  }
  return part;
}
