// Tables sort by a click on a heading; figures enlarge on click.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const falling = heading.getAttribute("aria-sort") === "ascending";
    const key = row => row.cells[column].dataset.order;
    const compare = (a, b) => {
      if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === ""); // nothing measured: always last
      const difference = key(a) - key(b);
      return (falling ? -1 : 1) * (Number.isNaN(difference) ? key(a).localeCompare(key(b)) : difference);
    };
    headings.forEach(other => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
}
const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll("figure button")) {
  button.addEventListener("click", () => {
    const { src, alt } = button.querySelector("img");
    Object.assign(dialog.querySelector("img"), { src, alt });
    dialog.showModal();
  });
}
dialog.querySelector("img").addEventListener("click", () => dialog.close());
