for (const table of document.querySelectorAll("table")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
      const order = new Intl.Collator(undefined, { numeric: true }).compare;
      const rows = [...body.rows].sort((a, b) => order(value(a), value(b)));
      body.append(...(down ? rows.reverse() : rows));
    });
  });
}
