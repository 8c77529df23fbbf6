// Study: where the learner points on the picture, and how the picture is shown. Nothing here knows an answer.
(() => {
  let point = null;
  const STEP = 0.02;
  const clamp = (value) => Math.min(1, Math.max(0, value));

  window.studyPoint = () => (point ? point.join(",") : "");
  window.studyForget = () => { point = null; };

  const show = (figure) => {
    const cross = figure.querySelector(".cross");
    cross.hidden = !point;
    if (!point) return;
    cross.style.left = `${100 * point[0]}%`;
    cross.style.top = `${100 * point[1]}%`;
  };

  document.addEventListener("click", (event) => {
    const image = event.target instanceof Element ? event.target.closest('.study-picture[data-kind="place"] img') : null;
    if (!image) return;
    const box = image.getBoundingClientRect();
    point = [clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)];
    show(image.closest(".study-picture"));
  });

  document.addEventListener("keydown", (event) => {
    const figure = event.target instanceof Element ? event.target.closest('.study-picture[data-kind="place"]') : null;
    const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (!figure || !move || event.target.matches("input")) return;
    event.preventDefault();
    const [x, y] = point || [0.5, 0.5];
    point = [clamp(x + move[0]), clamp(y + move[1])];
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
