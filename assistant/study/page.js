// Study: where the learner points on the picture, and how the picture is shown. Nothing here knows an answer.
(() => {
  let point = null;
  let box = null;
  let from = null;
  const STEP = 0.02;
  const clamp = (value) => Math.min(1, Math.max(0, value));

  window.studyPoint = () => (box || point || []).map((value) => value.toFixed(4)).join(",");
  window.studyForget = () => { point = box = from = null; };

  const show = (figure) => {
    const cross = figure.querySelector(".cross");
    const drawn = figure.querySelector(".drawn");
    cross.hidden = !point || !!box;
    drawn.hidden = !box;
    if (point) [cross.style.left, cross.style.top] = point.map((value) => `${100 * value}%`);
    if (box) [drawn.style.left, drawn.style.top, drawn.style.width, drawn.style.height] = box.map((value) => `${100 * value}%`);
  };
  const placeImage = (event) => (event.target instanceof Element ? event.target.closest('.study-picture[data-kind="place"] img') : null);
  const at = (event, image) => {
    const frame = image.getBoundingClientRect();
    return [clamp((event.clientX - frame.left) / frame.width), clamp((event.clientY - frame.top) / frame.height)];
  };
  const between = (one, other) => [0, 1].map((axis) => Math.min(one[axis], other[axis])).concat([0, 1].map((axis) => Math.abs(one[axis] - other[axis])));

  // A click is a place; drawn further than a trembling hand goes, it is a box. A finger scrolls instead.
  document.addEventListener("pointerdown", (event) => {
    const image = placeImage(event);
    if (!image || event.button > 0) return;
    from = at(event, image);
    if (event.pointerType !== "touch") image.setPointerCapture(event.pointerId);
  });
  document.addEventListener("pointermove", (event) => {
    const image = placeImage(event);
    if (!image || !from || event.pointerType === "touch") return;
    const to = between(from, at(event, image));
    if (Math.min(to[2], to[3]) < STEP) return;
    box = to;
    show(image.closest(".study-picture"));
  });
  document.addEventListener("pointercancel", () => { from = null; });
  document.addEventListener("pointerup", (event) => {
    const image = placeImage(event);
    if (image && from) {
      const to = between(from, at(event, image));
      if (event.pointerType === "touch" || Math.min(to[2], to[3]) < STEP) [point, box] = [at(event, image), null];
      show(image.closest(".study-picture"));
    }
    from = null;
  });

  document.addEventListener("keydown", (event) => {
    const figure = event.target instanceof Element ? event.target.closest('.study-picture[data-kind="place"]') : null;
    const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (!figure || !move || event.target.matches("input")) return;
    event.preventDefault();
    const [x, y] = point || [0.5, 0.5];
    if (event.shiftKey) {
      const [left, top, wide, high] = box || [clamp(x - STEP), clamp(y - STEP), 2 * STEP, 2 * STEP];
      box = [left, top, Math.min(1 - left, Math.max(STEP, wide + move[0])), Math.min(1 - top, Math.max(STEP, high + move[1]))];
    } else if (box) {
      box = [Math.min(1 - box[2], Math.max(0, box[0] + move[0])), Math.min(1 - box[3], Math.max(0, box[1] + move[1])), box[2], box[3]];
    } else {
      point = [clamp(x + move[0]), clamp(y + move[1])];
    }
    show(figure);
  });

  document.addEventListener("input", (event) => {
    const figure = event.target instanceof Element ? event.target.closest(".study-picture") : null;
    if (!figure) return;
    const of = (name) => Number(figure.querySelector(`.${name}`).value);
    const image = figure.querySelector("img");
    const invert = figure.querySelector(".invert").checked ? " invert(1)" : "";
    image.style.filter = `brightness(${of("brightness")}) contrast(${of("contrast")})${invert}`;
    image.parentElement.classList.toggle("zoomed", of("zoom") > 1);
    image.style.width = of("zoom") > 1 ? `${100 * of("zoom")}%` : "";
    image.parentElement.style.width = of("zoom") > 1 ? "100%" : "";
  });
})();
