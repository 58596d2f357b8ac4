// Brings a library to the page. The first one to arrive is shared: each widget's own module is imported from a blob.

import { library, unpacked } from "./explorer.js";

async function initialize({ model }) {
  library(model.get("name")).resolve(await unpacked(model.get("packed")).text());
}

export default { initialize };
