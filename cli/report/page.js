"use strict";
// The list of tasks: of all rows only those in sight are elements. What tasks wrote is shown by textContent alone.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [ID, BATCH, NAME, FUNCTION, STATUS, STARTED, RAN, WAITED, CPU, PEAK, SAID, OUTPUTS, TRIES] = Array(13).keys();
  const tasks = data.tasks;
  const byId = new Map(tasks.map((task) => [task[ID], task]));
  const element = (id) => document.getElementById(id);
  const make = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const number = (count) => count.toLocaleString("en");
  const tasksOf = (count) => `${number(count)} task${count === 1 ? "" : "s"}`;
  const duration = (ms) => {
    if (ms === null) return "–";
    if (ms < 1000) return `${ms} ms`;
    const s = ms / 1000;
    if (s < 9.95) return `${s.toFixed(1)} s`;
    if (s < 99.5) return `${s.toFixed(0)} s`;
    const whole = Math.round(s);
    const [d, h, m] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
    return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : `${m} min ${whole % 60} s`;
  };
  const bytes = (count) => {
    if (count === null) return "–";
    const step = count < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(count) / 10));
    const unit = ["bytes", "KiB", "MiB", "GiB", "TiB"][step];
    return step ? `${(count / 2 ** (10 * step)).toFixed(1)} ${unit}` : `${count} ${unit}`;
  };
  const sinceBegin = (ms) => (ms === null ? "–" : `+${duration(Math.max(ms, 0))}`);
  const exact = (ms) => (ms === null ? "" : new Date(data.begun + ms).toISOString());
  const moment = (ms) => {
    const made = make("time", "", sinceBegin(ms));
    made.title = exact(ms);
    return made;
  };

  const columns = [
    { title: "task", column: ID, text: (task) => String(task[ID]), figure: true },
    { title: "name", column: NAME, text: (task) => task[NAME] },
    { title: "state", column: STATUS, text: (task) => task[STATUS] },
    { title: "came to", column: SAID, text: (task) => task[SAID] },
    { title: "started", column: STARTED, text: (task) => sinceBegin(task[STARTED]), figure: true },
    { title: "waited", column: WAITED, text: (task) => duration(task[WAITED]), figure: true },
    { title: "ran", column: RAN, text: (task) => duration(task[RAN]), figure: true },
    { title: "CPU", column: CPU, text: (task) => duration(task[CPU]), figure: true },
    { title: "memory", column: PEAK, text: (task) => bytes(task[PEAK]), figure: true },
  ];

  // What is searched in: made when the page stands, or when something is searched for before.
  let texts = null;
  const textsOf = () =>
    (texts ??= tasks.map((task) =>
      [task[ID], task[NAME], data.functions[task[FUNCTION]], task[SAID], ...task[OUTPUTS].map((output) => output[1])]
        .join("\n").toLowerCase()));

  let shown = [];
  const sort = { column: ID, down: false };
  const order = () => {
    const { column, down } = sort;
    const sign = down ? -1 : 1;
    const key = (place) => tasks[place][column];
    if ([NAME, STATUS, SAID].includes(column)) {
      const keys = new Map(shown.map((place) => [place, key(place).toLowerCase()]));
      shown.sort((a, b) => {
        const [one, other] = [keys.get(a), keys.get(b)];
        return one < other ? -sign : one > other ? sign : a - b;
      });
    } else {
      // What has none is last, in either order.
      const value = (place) => key(place) ?? sign * Infinity;
      shown.sort((a, b) => {
        const [one, other] = [value(a), value(b)];
        return one === other ? a - b : sign * (one - other);
      });
    }
  };
  const select = () => {
    const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [status, wanted] = [element("status").value, element("function").value];
    const within = words.length ? textsOf() : null;
    shown = [];
    for (let place = 0; place < tasks.length; place += 1) {
      const task = tasks[place];
      if (status && task[STATUS] !== status) continue;
      if (wanted && task[FUNCTION] !== Number(wanted)) continue;
      if (within && !words.every((word) => within[place].includes(word))) continue;
      shown.push(place);
    }
    order();
    const all = tasksOf(data.total);
    const listed = tasks.length < data.total ? `the first ${number(tasks.length)} of ${all}` : all;
    element("found").textContent = shown.length === tasks.length ? listed : `${number(shown.length)} of ${listed}`;
    element("table").setAttribute("aria-rowcount", shown.length + 1);
    list.scrollTop = 0;
    draw();
  };

  const list = element("list");
  const rows = element("rows");
  const small = matchMedia("(max-width: 640px)");
  const height = () => (small.matches ? 58 : 32);
  const rowOf = (place, index) => {
    const task = tasks[place];
    const row = make("div", `row ${task[STATUS]}`);
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", index + 2);
    for (const { column, text, figure } of columns) {
      const cell = make("div", `cell c${column}${figure ? " figure" : ""}`);
      cell.setAttribute("role", "cell");
      if (column === NAME) {
        const link = make("a", "", text(task));
        link.href = `#task-${task[ID]}`;
        link.dir = "auto";
        link.title = `${task[NAME]} (${data.functions[task[FUNCTION]]})`;
        cell.append(link);
      } else {
        cell.textContent = text(task);
        if (column === STARTED) cell.title = exact(task[STARTED]);
        if (column === SAID) cell.title = task[SAID];
      }
      row.append(cell);
    }
    return row;
  };
  const draw = () => {
    const each = height();
    rows.style.height = `${shown.length * each}px`;
    const first = Math.max(0, Math.floor(list.scrollTop / each) - 8);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / each) + 8);
    rows.replaceChildren(...shown.slice(first, last).map((place, at) => {
      const row = rowOf(place, first + at);
      row.style.top = `${(first + at) * each}px`;
      return row;
    }));
  };
  list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  addEventListener("resize", draw);

  const heads = columns.map(({ title, column, figure }) => {
    const head = make("div", `cell c${column}${figure ? " figure" : ""}`);
    head.setAttribute("role", "columnheader");
    const button = make("button", "", title);
    button.type = "button";
    // Of what is counted the most comes first.
    const isCounted = [WAITED, RAN, CPU, PEAK].includes(column);
    button.addEventListener("click", () => by(column, sort.column === column ? !sort.down : isCounted));
    head.append(button);
    return head;
  });
  element("head").append(...heads);
  const by = (column, down) => {
    Object.assign(sort, { column, down });
    heads.forEach((head, at) => {
      const is = columns[at].column === column;
      head.setAttribute("aria-sort", is ? (down ? "descending" : "ascending") : "none");
    });
    element("order").value = `${column} ${down ? 1 : 0}`;
    order();
    list.scrollTop = 0;
    draw();
  };
  const options = (id, entries) => element(id).append(...entries.map(([value, text]) => {
    const option = make("option", "", text);
    option.value = value;
    return option;
  }));
  const states = new Set(tasks.map((task) => task[STATUS]));
  options("status", ["completed", "failed", "cancelled", "running", "queued"].filter((s) => states.has(s)).map((s) => [s, s]));
  options("function", data.functions.map((name, place) => [place, name]));
  options("order", columns.flatMap(({ title, column }) => [[`${column} 0`, `by ${title} ↑`], [`${column} 1`, `by ${title} ↓`]]));
  element("order").addEventListener("change", (event) => {
    const [column, down] = event.target.value.split(" ").map(Number);
    by(column, down === 1);
  });
  for (const id of ["search", "status", "function"]) element(id).addEventListener("input", select);
  element("tools").addEventListener("submit", (event) => event.preventDefault());

  // One task, as a dialog; its address is #task-ID.
  const dialog = element("task");
  const forget = () => history.replaceState(null, "", location.pathname + location.search);
  const leave = () => {
    dialog.close();
    forget();
  };
  const fact = (name, value) => {
    const row = make("div");
    const text = make("dd");
    text.append(value);
    row.append(make("dt", "", name), text);
    return row;
  };
  const triesOf = (task) => {
    const tries = make("ol", "tries");
    for (const [start, end, outcome, cause, error] of task[TRIES]) {
      const item = make("li");
      const why = cause && cause !== outcome ? `: ${cause}` : "";
      const after = end === null ? "" : ` after ${duration(end - start)}`;
      item.append(moment(start), `, ${outcome}${start === null ? "" : after}${why}`);
      if (error) item.append(make("br"), make("code", "", error));
      tries.append(item);
    }
    return tries;
  };
  const show = (task) => {
    const close = make("button", "close", "close");
    close.type = "button";
    close.addEventListener("click", leave);
    const title = make("h2", "", task[NAME]);
    title.id = "task-title";
    title.dir = "auto";
    const facts = make("dl", "facts");
    facts.append(
      fact("task", String(task[ID])), fact("batch", String(task[BATCH])), fact("function", data.functions[task[FUNCTION]]),
      fact("state", make("span", `state ${task[STATUS]}`, task[STATUS])), fact("started", moment(task[STARTED])),
      fact("waited", duration(task[WAITED])), fact("ran", duration(task[RAN])), fact("CPU in all", duration(task[CPU])),
      fact("peak memory", bytes(task[PEAK])));
    dialog.replaceChildren(close, title, facts);
    if (task[SAID]) dialog.append(make("p", "said", task[SAID]));
    if (task[TRIES].length) dialog.append(make("h3", "", "Attempts"), triesOf(task));
    for (const [stream, text, before] of task[OUTPUTS]) {
      dialog.append(make("h3", "", stream));
      if (before) {
        const hint = make("p", "note", `… ${number(before)} bytes more: `);
        hint.append(make("code", "", `batch-executor logs ${task[ID]}`));
        dialog.append(hint);
      }
      if (text) dialog.append(make("pre", "", text));
    }
    const hint = make("p", "hint", "all of it: ");
    hint.append(make("code", "", `batch-executor show ${task[ID]}`));
    dialog.append(hint);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };
  const follow = () => {
    const task = byId.get(Number(/^#task-(\d+)$/.exec(location.hash)?.[1]));
    if (task) return show(task);
    if (dialog.open) dialog.close();
    if (location.hash.startsWith("#task-")) element("found").textContent = `${location.hash.slice(1)} is not listed`;
  };
  // Not with the event `close`, which may come when another task has been opened.
  dialog.addEventListener("cancel", forget);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) leave(); });
  addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    // Where the address is there already, following the link changes nothing.
    const link = event.target.closest("a");
    if (link && link.getAttribute("href") === location.hash) follow();
  });

  select();
  by(ID, false);
  follow();
  setTimeout(textsOf, 100);
})();
