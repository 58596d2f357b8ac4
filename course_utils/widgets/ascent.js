// The ELBO of a normal in two dimensions and estimators of its gradient, in jax-js, as notebook 6 has them in JAX.
//
// q has the parameters phi = { mean: [m₁, m₂], logScale: [log s₁, log s₂], tilt: b } and makes of standard normal noise
// z₁ = m₁ + s₁ ε₁, z₂ = m₂ + b ε₁ + s₂ ε₂. Without the tilt it is a mean-field q.

const BELOW_DIAGONAL = [[0, 0], [1, 0]];

/**
 * Return `elbo(phi, rule)` in nats, an average over the `noise` [K, 2] of the rule with its `weights`, and `gradients`:
 * for each estimator's name a function of `phi` and `noise` that returns the gradient, in the form of `phi`. `logJoint`
 * maps [2] to a number.
 */
export function ascentOf(jax, logJoint) {
  const { numpy: np, grad, jit, tree, vmap } = jax;
  const logJoints = vmap(logJoint); // [K, 2] -> [K]

  const sample = ({ mean, logScale, tilt }, noise) => {
    const root = np.diag(np.exp(logScale)).add(np.array(BELOW_DIAGONAL).mul(tilt));
    return np.matmul(noise, root.transpose()).add(mean);
  };
  const logQ = ({ mean, logScale, tilt }, z) => {
    const shift = np.array(BELOW_DIAGONAL).mul(tilt).mul(np.exp(logScale.ref.sum().neg()));
    const inverse = np.diag(np.exp(logScale.ref.neg())).sub(shift);
    const noise = np.matmul(z.sub(mean), inverse.transpose());
    return np.sum(np.square(noise), 1).mul(-0.5).sub(logScale.sum()).sub(Math.log(2 * Math.PI));
  };
  const entropy = ({ logScale }) => logScale.sum().add(Math.log(2 * Math.PI * Math.E));
  const logWeights = (phi, held, noise) => {
    const z = sample(phi, noise);
    return logJoints(z.ref).sub(logQ(held, z));
  };
  const leaveOneOut = (weights) => {
    const sumOfOthers = weights.ref.sum().sub(weights.ref);
    return sumOfOthers.div(weights.shape[0] - 1);
  };

  // The gradient of each by its first argument is the estimator; what is held has the same values, and no gradient.
  const surrogates = {
    "score function": (phi, held, noise) => {
      const z = sample(tree.ref(held), noise.ref);
      return logWeights(tree.ref(held), held, noise).mul(logQ(phi, z)).mean();
    },
    "with baseline": (phi, held, noise) => {
      const z = sample(tree.ref(held), noise.ref);
      const weights = logWeights(tree.ref(held), held, noise);
      return weights.ref.sub(leaveOneOut(weights)).mul(logQ(phi, z)).mean();
    },
    reparameterised: (phi, held, noise) => {
      tree.dispose(held);
      return logJoints(sample(tree.ref(phi), noise)).mean().add(entropy(phi));
    },
    "sticking the landing": (phi, held, noise) => logWeights(phi, held, noise).mean(),
  };

  const asArrays = ({ mean, logScale, tilt }) => ({
    mean: np.array(mean), logScale: np.array(logScale), tilt: np.array(tilt),
  });
  const asNumbers = ({ mean, logScale, tilt }) => ({ mean: mean.js(), logScale: logScale.js(), tilt: tilt.js() });
  const gradients = Object.fromEntries(
    Object.entries(surrogates).map(([name, surrogate]) => {
      const gradient = jit(grad(surrogate));
      return [name, (phi, noise) => asNumbers(gradient(asArrays(phi), asArrays(phi), np.array(noise)))];
    }),
  );
  const average = jit((phi, noise, weights) => np.dot(weights, logWeights(tree.ref(phi), phi, noise)));
  const elbo = (phi, { noise, weights }) => average(asArrays(phi), np.array(noise), np.array(weights)).js();
  return { gradients, elbo };
}
