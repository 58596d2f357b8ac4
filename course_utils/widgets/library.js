// Brings a library to the page. The first one to arrive is shared: each widget's own module is imported from a blob.

async function initialize({ model }) {
  const [name, packed] = [model.get("name"), model.get("packed")];
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  library(name).resolve(await new Response(stream).text());
}

export default { initialize };
