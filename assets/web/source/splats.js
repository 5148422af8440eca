// 3D Gaussians as instanced quads, by the rules of dream3d's own kernels: EWA projection with 0.3 pixels of blur that
// costs no light, alpha at most 0.999 and not drawn below 1/255, composited back to front in display sRGB.

import * as THREE from "three";

const C0 = 0.28209479177387814;
const HEAD = ["x", "y", "z", "opacity", "rot_0", "rot_1", "rot_2", "rot_3", "scale_0", "scale_1", "scale_2", "f_dc_0", "f_dc_1", "f_dc_2"];
const BATCH = 1024; // quads of one instance: software drivers draw every instance by itself
const WIDTH = 2048; // of the texture of the order
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
  const degree = DEGREES[names.filter((n) => n.startsWith("f_rest_")).length];
  if (degree === undefined || HEAD.some((name) => !(name in at))) throw new Error("splats.ply is no .ply of Gaussians");
  return { count: size, stride: names.length, at, values, degree };
}

/** What of them moves: a line of JSON (count, columns, times in seconds), then float32 by moment, column and Gaussian. */
export function parseClip(bytes, count) {
  const end = bytes.indexOf(10) + 1;
  const { columns, times, count: moving } = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  if (moving !== count || bytes.length - end !== 4 * count * columns.length * times.length) throw new Error("the moments are not complete");
  return { columns, times, values: new Float32Array(bytes.buffer, end) };
}

/** A texture of `texels` texels for each of `count`, whole ones side by side. */
function table(count, texels, limit) {
  const perRow = Math.floor(Math.min(limit, 4096) / texels);
  const [width, height] = [perRow * texels, Math.max(1, Math.ceil(count / perRow))];
  const data = new Float32Array(4 * width * height);
  const texture = new THREE.DataTexture(data, width, height, THREE.RGBAFormat, THREE.FloatType);
  texture.needsUpdate = true;
  return { data, texture, perRow };
}

/** Into `data`, four texels each: centre and opacity, three axes with red, green and blue. Rows are full, so texels follow on. */
function packHeads({ count, stride, at, values }, data, centres) {
  const [X, Y, Z, O, W, R, S, C] = ["x", "y", "z", "opacity", "rot_0", "rot_1", "scale_0", "f_dc_0"].map((name) => at[name]);
  for (let i = 0, from = 0, out = 0; i < count; i++, from += stride, out += 16) {
    centres[3 * i] = data[out] = values[from + X];
    centres[3 * i + 1] = data[out + 1] = values[from + Y];
    centres[3 * i + 2] = data[out + 2] = values[from + Z];
    data[out + 3] = 1 / (1 + Math.exp(-values[from + O]));
    let [w, x, y, z] = [values[from + W], values[from + R], values[from + R + 1], values[from + R + 2]];
    const norm = Math.sqrt(w * w + x * x + y * y + z * z) || 1;
    w /= norm, x /= norm, y /= norm, z /= norm;
    const [a, b, c] = [Math.exp(values[from + S]), Math.exp(values[from + S + 1]), Math.exp(values[from + S + 2])];
    data[out + 4] = a * (1 - 2 * (y * y + z * z));
    data[out + 5] = a * 2 * (x * y + w * z);
    data[out + 6] = a * 2 * (x * z - w * y);
    data[out + 8] = b * 2 * (x * y - w * z);
    data[out + 9] = b * (1 - 2 * (x * x + z * z));
    data[out + 10] = b * 2 * (y * z + w * x);
    data[out + 12] = c * 2 * (x * z + w * y);
    data[out + 13] = c * 2 * (y * z - w * x);
    data[out + 14] = c * (1 - 2 * (x * x + y * y));
    for (let k = 0; k < 3; k++) data[out + 7 + 4 * k] = 0.5 + C0 * values[from + C + k];
  }
}

/** One texel per coefficient of degree 1 and more, red, green, blue; a .ply has them channel by channel. */
function packHarmonics({ count, stride, at, values, degree }, limit) {
  const rest = (degree + 1) ** 2 - 1;
  const { data, texture, perRow } = table(rest ? count : 0, rest || 1, limit);
  const first = at.f_rest_0;
  for (let i = 0, from = first, out = 0; rest && i < count; i++, from += stride) {
    for (let k = 0; k < rest; k++, out += 4) {
      data[out] = values[from + k];
      data[out + 1] = values[from + rest + k];
      data[out + 2] = values[from + 2 * rest + k];
    }
  }
  return { harmonics: texture, restPerRow: perRow };
}

const VERTEX = /* glsl */ `
precision highp float;
precision highp int;
uniform highp sampler2D heads, harmonics;
uniform highp usampler2D order;
uniform int count;
uniform int perRow, restPerRow, degree;
uniform vec2 viewport;
uniform vec3 eye;
out vec2 place;
out vec4 paint;

vec4 texel(int index, int part) { return texelFetch(heads, ivec2((index % perRow) * 4 + part, index / perRow), 0); }

vec3 rest(int index, int k) {
  int texels = (degree + 1) * (degree + 1) - 1;
  return texelFetch(harmonics, ivec2((index % restPerRow) * texels + k - 4, index / restPerRow), 0).rgb;
}

vec3 turning(int index, vec3 d) {
  float x = d.x, y = d.y, z = d.z, xx = x * x, yy = y * y, zz = z * z;
  vec3 sum = 0.4886025119029199 * (-y * rest(index, 4) + z * rest(index, 5) - x * rest(index, 6));
  if (degree < 2) return sum;
  sum += 1.0925484305920792 * (x * y * rest(index, 7) - y * z * rest(index, 8) - x * z * rest(index, 10));
  sum += 0.31539156525252005 * (3.0 * zz - 1.0) * rest(index, 9) + 0.5462742152960396 * (xx - yy) * rest(index, 11);
  if (degree < 3) return sum;
  sum += -0.5900435899266435 * (y * (3.0 * xx - yy) * rest(index, 12) + x * (xx - 3.0 * yy) * rest(index, 18));
  sum += 2.890611442640554 * x * y * z * rest(index, 13) + 1.445305721320277 * z * (xx - yy) * rest(index, 17);
  sum += -0.4570457994644658 * (5.0 * zz - 1.0) * (y * rest(index, 14) + x * rest(index, 16));
  return sum + 0.3731763325901154 * z * (5.0 * zz - 3.0) * rest(index, 15);
}

void main() {
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0); // nowhere
  int number = gl_InstanceID * ${BATCH} + gl_VertexID / 4;
  if (number >= count) return;
  int index = int(texelFetch(order, ivec2(number % ${WIDTH}, number / ${WIDTH}), 0).r);
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
  place = sqrt(reach) * vec2((gl_VertexID + 1 & 2) - 1, (gl_VertexID & 2) - 1);
  vec2 offset = place.x * sqrt(longest) * along + place.y * sqrt(shortest) * vec2(-along.y, along.x);
  vec3 colour = vec3(a.w, b.w, c.w);
  if (degree > 0) colour += turning(index, normalize(first.xyz - eye));
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

/** A drawable of Gaussians in the world's own axes; `sort(camera)` before drawing. `moments`: bytes for parseClip, or null. */
export class Splats extends THREE.Mesh {
  constructor(bytes, maxTextureSize, moments) {
    const ply = parsePly(bytes);
    const heads = table(ply.count, 4, maxTextureSize);
    const corners = Uint16Array.from({ length: 6 * BATCH }, (_, i) => 4 * Math.floor(i / 6) + [0, 1, 2, 0, 2, 3][i % 6]);
    const geometry = new THREE.InstancedBufferGeometry();
    geometry.setIndex(new THREE.BufferAttribute(corners, 1));
    geometry.instanceCount = Math.ceil(ply.count / BATCH);
    const order = new THREE.DataTexture(new Uint32Array(WIDTH * Math.ceil(ply.count / WIDTH)), WIDTH, Math.ceil(ply.count / WIDTH), THREE.RedIntegerFormat, THREE.UnsignedIntType);
    const uniforms = { ...packHarmonics(ply, maxTextureSize), heads: heads.texture, perRow: heads.perRow, degree: ply.degree, order, count: ply.count };
    const material = new THREE.ShaderMaterial({
      glslVersion: THREE.GLSL3,
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      uniforms: Object.fromEntries(Object.entries({ ...uniforms, viewport: new THREE.Vector2(), eye: new THREE.Vector3() }).map(([name, value]) => [name, { value }])),
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
    this.centres = new Float32Array(3 * ply.count);
    this.keys = new Uint16Array(ply.count);
    this.forward = new THREE.Vector3();
    this.clip = moments && parseClip(moments, ply.count);
    this.seconds = this.clip ? this.clip.times.at(-1) - this.clip.times[0] : 0;
    this.ply = this.clip ? ply : null; // what stands still is not kept twice
    this.heads = heads;
    packHeads(ply, heads.data, this.centres);
  }

  /** As it is `seconds` after its first moment; between two moments along the straight line. */
  seek(seconds) {
    const { columns, times, values } = this.clip;
    const time = times[0] + seconds;
    let after = times.findIndex((t) => t >= time);
    if (after < 0) after = times.length - 1;
    const before = Math.max(0, after - 1);
    const share = after === before ? 1 : Math.min(1, Math.max(0, (time - times[before]) / (times[after] - times[before])));
    const { count, ply } = this;
    columns.forEach((name, c) => {
      const [one, two] = [before, after].map((moment) => (moment * columns.length + c) * count);
      for (let i = 0, out = ply.at[name]; i < count; i++, out += ply.stride) ply.values[out] = (1 - share) * values[one + i] + share * values[two + i];
    });
    packHeads(ply, this.heads.data, this.centres);
    this.heads.texture.needsUpdate = true;
    this.forward.set(0, 0, 0); // another order
  }

  /** Farthest first, by the camera's z: a counting sort, done again only where the direction has changed. */
  sort(camera, viewport) {
    const forward = camera.getWorldDirection(new THREE.Vector3());
    this.material.uniforms.viewport.value.copy(viewport);
    this.material.uniforms.eye.value.copy(camera.position);
    if (forward.equals(this.forward)) return;
    this.forward.copy(forward);
    const { count, centres, keys } = this;
    const { x, y, z } = forward;
    let [low, high] = [Infinity, -Infinity];
    for (let i = 0; i < 3 * count; i += 3) {
      const depth = x * centres[i] + y * centres[i + 1] + z * centres[i + 2];
      if (depth < low) low = depth;
      if (depth > high) high = depth;
    }
    const scale = 65535 / Math.max(high - low, 1e-9);
    const starts = new Uint32Array(65537);
    for (let i = 0; i < count; i++) {
      keys[i] = (high - (x * centres[3 * i] + y * centres[3 * i + 1] + z * centres[3 * i + 2])) * scale;
      starts[keys[i] + 1]++;
    }
    for (let k = 0; k < 65536; k++) starts[k + 1] += starts[k];
    const order = this.material.uniforms.order.value;
    for (let i = 0; i < count; i++) order.image.data[starts[keys[i]]++] = i;
    order.needsUpdate = true;
  }
}
