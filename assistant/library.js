// The figure that is open is named by the page's address: links change it, and the hidden button shows what it names.
(() => {
  const show = () => document.getElementById("open-figure")?.click();

  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[data-figure]") : null;
    const elsewhere = event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
    if (!link || elsewhere || !document.getElementById("open-figure")) return;
    event.preventDefault();
    const id = link.dataset.figure;
    history.pushState(null, "", id ? `?figure=${encodeURIComponent(id)}` : location.pathname);
    show();
  }, true);

  addEventListener("popstate", show);

  window.showOpenedFigure = () => {
    const page = document.querySelector(".figure-page");
    if (!page) return;
    if (innerWidth <= 900) page.scrollIntoView({ block: "start" });
    else document.getElementById("figure-column")?.scrollTo({ top: 0 });
    page.focus({ preventScroll: true });
  };
})();
