// What `npm run lint` asks of the JavaScript.

import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import globals from "globals";

const WORKERS = ["course_utils/widgets/vae.js", "course_utils/widgets/playground_worker.js"];
const SITE = { ...globals.browser, katex: "readonly", Reveal: "readonly" };

export default defineConfig([
  { ignores: ["**/vendor/"] },
  js.configs.recommended,
  { rules: { eqeqeq: "error", "prefer-const": "error" } },
  { files: ["course_utils/widgets/*.js"], ignores: WORKERS, languageOptions: { globals: globals.browser } },
  // A worker finds jax-js as the global `jax`: see `jaxWorker` in explorer.js.
  { files: WORKERS, languageOptions: { globals: { ...globals.worker, jax: "readonly" } } },
  { files: ["docs/_static/*.js"], languageOptions: { sourceType: "script", globals: SITE } },
]);
