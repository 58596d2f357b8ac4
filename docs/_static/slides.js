// Starts the slides. Keys pressed on a slider or a field are the explorer's.
Reveal.initialize({
  width: 1280,
  height: 720,
  margin: 0.04,
  center: false,
  hash: true,
  slideNumber: "c/t",
  transition: "none",
  keyboardCondition: () => !document.activeElement?.closest(".explorer, summary, a"),
});
