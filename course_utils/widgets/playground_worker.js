// Trains in a worker, so that the page stays free. The page sends `data` once, then `start` with settings, `run`, `pause` and `step`;
// back come looks at the model, with all that the page draws.

import { codes, corrections, makeStep, newLayers, np, rightBound, tree } from "./vae.js";

const NUM_PICTURES = 8;
const MS_BETWEEN_VISITS = 30; // so that a pause is heard
const MS_BETWEEN_LOOKS = 100;
const MS_LONGEST = 1500; // the first look and the first bounds compile, and would seem dear
const SHARE = 0.08; // of the time, at most, goes into looks, and as much into the bounds of the curves

/** Return a generator of uniform numbers of 32 bits: sfc32 of Doty-Humphrey's PractRand. */
export function generator(seed) {
  let [a, b, c, counter] = [0, 0, seed, 1];
  const next = () => {
    const sum = (a + b + counter++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 12; i++) next();
  return next;
}

const uniform = (next) => (next() + 0.5) / 2 ** 32;

/** Return `n` standard normal numbers, by Box and Muller. */
export const normalNumbers = (next, n) =>
  Float32Array.from({ length: n }, () => {
    const radius = Math.sqrt(-2 * Math.log(uniform(next)));
    return radius * Math.cos(2 * Math.PI * uniform(next));
  });

/** Return images of half the height and width, each pixel the mean of four. */
export function halved(images, side) {
  const half = side / 2;
  const result = new Uint8Array(images.length / 4);
  for (let i = 0; i < result.length; i++) {
    const top = Math.floor(i / half) * 2 * side + (i % half) * 2;
    result[i] = (images[top] + images[top + 1] + images[top + side] + images[top + side + 1] + 2) >> 2;
  }
  return result;
}

/** Draw each pixel of the images in `rows` as Bernoulli(grey level / 255), or cut it at 1/2: zeros and ones. */
export function binarize(next, images, rows, dataDim, cut) {
  const x = new Float32Array(rows.length * dataDim);
  let i = 0;
  for (const row of rows) {
    const image = images.subarray(row * dataDim, (row + 1) * dataDim);
    for (let pixel = 0; pixel < dataDim; pixel += 2) {
      // 16 random bits a pixel, as in course_utils.data.
      const bits = cut ? 0x7fff_7fff : next();
      x[i++] = (bits & 0xffff) < image[pixel] * 257 ? 1 : 0;
      x[i++] = bits >>> 16 < image[pixel + 1] * 257 ? 1 : 0;
    }
  }
  return x;
}

/** Return a training run: `step()`, `bounds()` and `snapshot()`. */
function newRun({ train, heldOut, side }, settings) {
  const { objective, latent_dim: latent, num_samples: samples, width, beta, learning_rate: rate, seed } = settings;
  const batch = settings.batch_size;
  const dataDim = side * side;
  const numData = train.length / dataDim;
  const next = generator(seed);
  const normal = (n) => normalNumbers(next, n);
  const encoder = newLayers(normal, dataDim, width, 2 * latent);
  const decoder = newLayers(normal, latent, width, dataDim);
  // The average image, where every run would arrive first.
  const mean = new Float64Array(dataDim);
  train.forEach((grey, i) => (mean[i % dataDim] += grey / 255 / numData));
  decoder[1][1].dispose();
  decoder[1][1] = np.array(Float32Array.from(mean, (p) => Math.log(Math.max(p, 1e-3) / Math.max(1 - p, 1e-3))));
  let weights = { encoder, decoder };
  const zeros = () => tree.map((weight) => np.zeros(weight.shape), weights);
  let [first, second] = [zeros(), zeros()];
  const climb = makeStep(objective, numData);
  const order = Uint32Array.from({ length: numData }, (_, i) => i);
  let t = 0;

  // The bounds are those of the same binary images and the same noise each time, so that curves do not jump.
  const few = Math.min(500, heldOut.length / dataDim);
  const fixed = generator(2 ** 31);
  const chunk = Math.max(20, Math.min(100, Math.floor(1000 / samples)));
  const numBounded = Math.floor((samples > 1 ? Math.min(few, 5 * chunk) : few) / chunk) * chunk;
  const rows = Array.from({ length: few }, (_, i) => i);
  const [trainX, heldOutX] = [train, heldOut].map((images) => binarize(fixed, images, rows, dataDim, false));
  const pictures = heldOutX.slice(0, NUM_PICTURES * dataDim);
  const boundNoise = normalNumbers(fixed, samples * numBounded * latent);

  const array = (numbers, ...shape) => np.array(numbers).reshape(shape);
  const rowsOf = (x, from, count) => array(x.subarray(from * dataDim, (from + count) * dataDim), count, dataDim);
  const meanBound = (x) => {
    let sum = 0;
    for (let from = 0; from < numBounded; from += chunk) {
      const noise = boundNoise.subarray(from * samples * latent, (from + chunk) * samples * latent);
      sum += rightBound(tree.ref(weights), rowsOf(x, from, chunk), array(noise, samples, chunk, latent)).js() * chunk;
    }
    return sum / numBounded;
  };

  return {
    get steps() {
      return t;
    },
    /** Take one step; return what the objective says. */
    step() {
      const position = (t % Math.floor(numData / batch)) * batch;
      for (let i = position; i < position + batch; i++) {
        // A shuffle by Fisher and Yates, as far as this batch needs it.
        const j = i + Math.floor(uniform(next) * (numData - i));
        [order[i], order[j]] = [order[j], order[i]];
      }
      const chosen = order.subarray(position, position + batch);
      const x = binarize(next, train, chosen, dataDim, objective === "pixels cut at 1/2");
      t += 1;
      const [value, ...moved] = climb(
        weights,
        first,
        second,
        array(x, batch, dataDim),
        array(normal(samples * batch * latent), samples, batch, latent),
        np.array(beta),
        np.array(rate),
        corrections(t),
      );
      [weights, first, second] = moved;
      return value.js();
    },
    /** Return the right bound on images that are trained on, and on others, in nats per image. */
    bounds: () => ({ train: meanBound(trainX), heldOut: meanBound(heldOutX) }),
    /** Return the decoder's weights as decoder.js reads them, and the codes of the held-out images. */
    snapshot() {
      const [means, logScales] = codes(tree.ref(weights.encoder), rowsOf(heldOutX, 0, few));
      // Row by row of outputs, the bias after it.
      const blocks = weights.decoder.map(([matrix, bias]) =>
        np.concatenate([np.transpose(matrix.ref).reshape([-1]), bias.ref]),
      );
      return {
        pictures,
        decoder: np.concatenate(blocks).dataSync().slice(),
        means: means.dataSync().slice(),
        scales: np.exp(logScales).dataSync().slice(),
      };
    },
    dispose: () => [weights, first, second].forEach((part) => tree.dispose(part)),
  };
}

let [data, run, running] = [null, null, false];
let [lastLook, nextLook, nextBounds, steps] = [0, 0, 0, 0];
let [said, runId] = [[], 0];

/** Return when to do again what began at `begin`: it takes its share of the time, but never waits for long. */
const later = (begin) => performance.now() + Math.min(MS_LONGEST, (performance.now() - begin) * (1 / SHARE - 1));

/** Send what there is to see of the run; the last look before a pause has the bounds for certain. */
function sendLook(isLast) {
  const now = performance.now();
  const message = { type: "look", id: runId, isLast, step: run.steps, said: Float32Array.from(said), ...run.snapshot() };
  // On the clock, with all that goes on between the steps.
  if (running) message.rate = (1000 * steps) / (now - lastLook);
  [said, steps, lastLook, nextLook] = [[], 0, now, Math.max(now + MS_BETWEEN_LOOKS, later(now))];
  if (isLast || now >= nextBounds) {
    const begin = performance.now();
    message.bounds = run.bounds();
    nextBounds = later(begin);
  }
  postMessage(message, [message.decoder.buffer, message.means.buffer, message.scales.buffer]);
}

function takeStep() {
  const value = run.step();
  steps += 1;
  said.push(value);
  if (Number.isFinite(value)) return;
  running = false;
  postMessage({ type: "stopped", step: run.steps, value });
}

const visits = new MessageChannel();
visits.port1.onmessage = () => {
  if (!running) return;
  const begin = performance.now();
  while (running && performance.now() - begin < MS_BETWEEN_VISITS) takeStep();
  if (running && performance.now() >= nextLook) sendLook(false);
  visits.port2.postMessage(null);
};

const answers = {
  data({ pixels, numHeldOut, side }) {
    const end = pixels.length - numHeldOut * side * side;
    const [train, heldOut] = [pixels.subarray(0, end), pixels.subarray(end)];
    data = {
      [side]: { side, train, heldOut },
      [side / 2]: { side: side / 2, train: halved(train, side), heldOut: halved(heldOut, side) },
    };
  },
  start({ id, settings }) {
    [running, runId] = [false, id];
    run?.dispose();
    run = newRun(data[settings.side], settings);
    said = [];
    sendLook(true);
  },
  run() {
    if (running) return;
    running = true;
    visits.port2.postMessage(null);
  },
  pause() {
    running = false;
    sendLook(true);
  },
  step({ count }) {
    running = false;
    for (let i = 0; i < count; i++) takeStep();
    sendLook(true);
  },
};

onmessage = ({ data: message }) => answers[message.type](message);
