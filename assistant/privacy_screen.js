// The privacy gate: a mark follows its checkbox and the checkbox its mark; boxes of one's own are drawn by dragging.
(() => {
  const LEAST = 4;
  const picture = () => document.getElementById("privacy-picture");
  const boxes = () => [...document.querySelectorAll("#privacy-places input[type=checkbox]")];

  const at = (event) => {
    const svg = picture();
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const { width, height } = svg.viewBox.baseVal;
    return [Math.min(Math.max(point.x, 0), width), Math.min(Math.max(point.y, 0), height)];
  };

  let drawing = null;
  const place = (rect, [x, y], [left, top]) => {
    rect.setAttribute("x", Math.min(x, left));
    rect.setAttribute("y", Math.min(y, top));
    rect.setAttribute("width", Math.abs(x - left));
    rect.setAttribute("height", Math.abs(y - top));
  };

  document.addEventListener("change", (event) => {
    if (!event.target.closest?.("#privacy-places")) return;
    boxes().forEach((box, number) => {
      picture()?.querySelector(`.place[data-number="${number}"]`)?.classList.toggle("out", box.checked);
    });
  });

  document.addEventListener("pointerdown", (event) => {
    const svg = event.target.closest?.("#privacy-picture");
    if (!svg || event.button) return;
    event.preventDefault();
    const own = event.target.closest(".drawn");
    const mark = event.target.closest(".place");
    if (own) return own.remove();
    if (mark) return boxes()[Number(mark.dataset.number)]?.click();
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    rect.setAttribute("class", "drawn");
    svg.append(rect);
    svg.setPointerCapture(event.pointerId);
    drawing = { rect, start: at(event) };
  });
  document.addEventListener("pointermove", (event) => {
    if (drawing && picture()) place(drawing.rect, at(event), drawing.start);
  });
  const finish = () => {
    const rect = drawing?.rect;
    drawing = null;
    if (rect && (Number(rect.getAttribute("width")) < LEAST || Number(rect.getAttribute("height")) < LEAST)) rect.remove();
  };
  document.addEventListener("pointerup", finish);
  document.addEventListener("pointercancel", finish);

  window.medvintPrivacy = {
    // Left, top, right, bottom of each drawn box, in pixels of the image.
    drawn: () =>
      JSON.stringify(
        [...document.querySelectorAll("#privacy-picture .drawn")].map((rect) => {
          const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(rect.getAttribute(name)));
          return [x, y, x + width, y + height];
        }),
      ),
    focus: () => document.querySelector("#privacy-told h2")?.focus(),
  };
})();
