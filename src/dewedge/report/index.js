"use strict";
// A click on the head of a column sorts by it, a second one the other way round; what is not known comes last.
for (const head of document.querySelectorAll("th[data-column]")) {
  head.innerHTML = `<button type="button">${head.innerHTML}</button>`;
  head.firstChild.addEventListener("click", () => {
    const falling = head.getAttribute("aria-sort") === "ascending";
    document.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = (row) => row.children[head.dataset.column].dataset.value;
    const body = document.querySelector("tbody");
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const difference = Number(x) - Number(y);
      const numbered = x.localeCompare(y, undefined, { numeric: true });  // TS_9 before TS_10
      return (falling ? -1 : 1) * (Number.isNaN(difference) ? numbered : difference);
    };
    body.append(...[...body.children].sort(order));
  });
}
