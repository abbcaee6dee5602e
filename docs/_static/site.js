// The height of a player or of the explorer, which it tells when it has drawn itself.
addEventListener("message", ({ source, data }) => {
  const frame = [...document.querySelectorAll("iframe.view")].find((one) => one.contentWindow === source);
  if (frame && data?.height) frame.style.height = `${data.height}px`;
});

// From disk a page may not fetch another one, so the search shows titles alone.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What can be moved sideways can be reached with the keyboard, and fades where there is more of it.
const SIDEWAYS = "pre, figure, .cell_output, .output, .output > div, .scrolls, .pst-scrollable-table-container, mjx-container[display], div.math";
function reachable() {
  for (const one of document.querySelectorAll(SIDEWAYS)) {
    const moves = one.scrollWidth > one.clientWidth && getComputedStyle(one).overflowX !== "visible";
    if (moves) one.tabIndex = 0; // and it stays so: to be told twice costs less than to be shut out
    one.classList.toggle("moves", moves);
    one.classList.toggle("more", moves && hasMore(one));
  }
}
function hasMore(one) {
  return one.scrollLeft + one.clientWidth < one.scrollWidth - 2;
}
addEventListener("scroll", ({ target }) => {
  if (target !== document && target.matches(SIDEWAYS)) target.classList.toggle("more", hasMore(target));
}, true);

addEventListener("DOMContentLoaded", () => {
  // The arrows of the navigation say nothing of themselves.
  for (const summary of document.querySelectorAll("nav summary")) {
    summary.setAttribute("aria-label", `pages of ${summary.closest("li").querySelector("a").textContent.trim()}`);
  }
  new ResizeObserver(reachable).observe(document.body);
  window.MathJax?.startup?.promise?.then(reachable);
});
addEventListener("load", reachable);
