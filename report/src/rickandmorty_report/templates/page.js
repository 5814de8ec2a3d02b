// Draws the charts, wires the controls, filters the lists and shows ages. `vegaEmbed` is in the bundle around this file.
const FIRST = 20;

async function draw() {
  const specs = JSON.parse(document.getElementById("charts-data").textContent);
  const options = {
    actions: false,
    ast: true, // no code is made of text, so the page's policy can forbid it
    defaultStyle: false,
    renderer: "svg",
    tooltip: { theme: "page", disableDefaultStyle: true },
  };
  // Side by side: a chart that fails does not take the others with it.
  await Promise.all(Object.entries(specs).map(async ([key, spec]) => {
    const { view } = await vegaEmbed(`#chart-${key}`, spec, options);
    for (const control of document.querySelectorAll(`select[data-chart="${key}"]`)) {
      const set = () => {
        // A note that holds for another choice would be one on the wrong chart.
        for (const note of document.querySelectorAll(`[data-note="${key}"][data-parameter="${control.dataset.parameter}"]`)) {
          note.hidden = note.dataset.when !== control.value;
        }
        return view.signal(control.dataset.parameter, control.value).runAsync();
      };
      control.addEventListener("change", set);
      await set(); // a browser keeps choices when it reloads the page
    }
  }));
  document.documentElement.dataset.drawn = Object.keys(specs).length;
}

function list(name) {
  const table = document.getElementById(`list-${name}`);
  if (!table) return;
  const rows = [...table.tBodies[0].rows];
  const controls = [...document.querySelectorAll(`select[data-list="${name}"]`)];
  const count = document.querySelector(`[data-count="${name}"]`);
  const more = document.querySelector(`[data-more="${name}"]`);
  let all = false;
  const show = () => {
    const found = rows.filter((row) => controls.every((c) => !c.value || row.dataset[c.dataset.column] === c.value));
    const visible = new Set(all ? found : found.slice(0, FIRST));
    for (const row of rows) row.hidden = !visible.has(row);
    count.textContent = visible.size < found.length ? `${visible.size} of ${found.length}` : `${found.length}`;
    more.hidden = visible.size === found.length;
    more.textContent = `Show all ${found.length}`;
  };
  for (const control of controls) control.addEventListener("change", () => { all = false; show(); });
  more.addEventListener("click", () => { all = true; show(); });
  show();
}

function ages() {
  const format = new Intl.RelativeTimeFormat("en", { numeric: "always" });
  for (const time of document.querySelectorAll("time")) {
    const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
    const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60]].find(([, s]) => -seconds >= s) ?? ["second", 1];
    time.dataset.age = format.format(Math.ceil(Math.min(seconds, 0) / size), unit);
  }
}

list("changes");
list("findings");
ages();
setInterval(ages, 30000);
await draw();
