"use strict";
const get = (id) => document.getElementById(id);
const dialog = get("task");
const seen = [];
// Heard after the page has heard it.
const followed = () => new Promise((resolve) => addEventListener("hashchange", resolve, { once: true }));
const enter = (id, value) => {
  get(id).value = value;
  get(id).dispatchEvent(new Event("input"));
  seen.push(get("found").textContent);
};
const names = () => [...document.querySelectorAll(".row .c2")].slice(0, 2).map((cell) => cell.textContent).join(",");
const open = async (id) => {
  const there = followed();
  document.querySelector(`.ids a[href="#task-${id}"]`).click();
  await there;
  seen.push(`${dialog.open} ${dialog.querySelector("h2").textContent} ${location.hash}`);
};
addEventListener("error", (event) => seen.push(event.message));
(async () => {
  seen.push(`few rows: ${document.querySelectorAll(".row").length < 60}`);
  enter("search", "T7 ");
  enter("search", "simulated FAILURE");
  enter("search", "nowhere");
  enter("search", "");
  document.querySelectorAll("#head button")[1].click();
  seen.push(names());
  document.querySelectorAll("#head button")[1].click();
  seen.push(names());
  enter("status", "failed");
  seen.push(names());
  await open(3);
  dialog.querySelector(".close").click();
  seen.push(`${dialog.open} ${location.hash}`);
  await open(3);
  const there = followed();
  location.hash = "#task-999";
  await there;
  seen.push(`${dialog.open} ${get("found").textContent}`);
  const list = document.createElement("p");
  list.id = "seen";
  list.textContent = seen.join("; ");
  document.body.append(list);
})();
