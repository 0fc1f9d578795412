"use strict";
// What plain HTML cannot do: dropping files, showing how far an upload is, copying. Nothing here is needed to read a page.

function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent;
  const done = () => { const was = button.textContent; button.textContent = "Copied"; setTimeout(() => { button.textContent = was; }, 1500); };
  if (navigator.clipboard) { navigator.clipboard.writeText(text).then(done, () => fallback(text, done)); } else { fallback(text, done); }
}

function fallback(text, done) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  if (document.execCommand("copy")) { done(); }
  area.remove();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) { copy(button); }
});

// ---- uploads

const form = document.getElementById("upload");

async function walk(entry, path, found) {
  if (entry.isFile) {
    const file = await new Promise((yes, no) => entry.file(yes, no));
    found.push([file, path + file.name]);
  } else if (entry.isDirectory) {
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((yes, no) => reader.readEntries(yes, no));
      if (!some.length) { return; }
      for (const one of some) { await walk(one, path + entry.name + "/", found); }
    }
  }
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  if (!entries.length) { return [...transfer.files].map((file) => [file, file.name]); }
  const found = [];
  for (const entry of entries) { await walk(entry, "", found); }
  return found;
}

function complain(text) {
  const place = document.getElementById("problem");
  place.textContent = text;
  place.hidden = false;
  document.getElementById("sent").hidden = true;
}

function send(files) {
  const data = new FormData();
  for (const field of form.elements) {
    if (field.name && field.type !== "file" && (field.type !== "checkbox" || field.checked)) { data.append(field.name, field.value); }
  }
  for (const [file, name] of files) { data.append("files", file, name); }
  const request = new XMLHttpRequest();
  const bar = document.getElementById("sent");
  bar.hidden = false;
  document.getElementById("problem").hidden = true;
  document.getElementById("chosen").textContent = "Sending " + files.length + (files.length === 1 ? " file" : " files");
  request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) { bar.value = 100 * event.loaded / event.total; } });
  request.addEventListener("load", () => {
    let said = {};
    try { said = JSON.parse(request.responseText); } catch (error) { said = {}; }
    if (request.status === 202 && said.url) { location.assign(said.url); } else { complain(said.error ? said.error.message : "The server did not take this."); }
  });
  request.addEventListener("error", () => complain("The server ended the connection: too large, too slow, or it is not there."));
  request.open("POST", form.dataset.api || "/api/evaluations");
  request.setRequestHeader("X-CSRF-Token", data.get("csrf"));
  request.send(data);
}

if (form) {
  const inputs = [...form.querySelectorAll("input[type=file]")];
  const told = document.getElementById("chosen");
  const chosen = () => inputs.flatMap((input) => [...input.files].map((file) => [file, file.webkitRelativePath || file.name]));
  for (const input of inputs) {
    input.addEventListener("change", () => {
      for (const other of inputs) { if (other !== input) { other.value = ""; } }
      const files = chosen();
      told.textContent = files.length === 1 ? files[0][1] : files.length + " files";
    });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const files = chosen();
    if (files.length) { send(files); } else { complain("Choose a driver first."); }
  });
  for (const kind of ["dragover", "dragenter"]) { form.addEventListener(kind, (event) => { event.preventDefault(); form.classList.add("over"); }); }
  form.addEventListener("dragleave", (event) => { if (!form.contains(event.relatedTarget)) { form.classList.remove("over"); } });
  form.addEventListener("drop", async (event) => {
    event.preventDefault();
    form.classList.remove("over");
    const files = await dropped(event.dataTransfer);
    if (files.length) { send(files); }
  });
}

// ---- a click on the picture leads the keyboard there, too

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (link) { const place = document.getElementById(link.getAttribute("href").slice(1)); if (place) { place.focus({ preventScroll: true }); } }
});
