"use strict";
const drop = document.getElementById("drop");
const input = document.getElementById("files");
const results = document.getElementById("results");
const address = new URL("predict", location.href);
const maxBody = Number(input.dataset.maxBody);
let last = Promise.resolve(); // pictures are sent one after another, so that many do not crowd others out

document.getElementById("command").textContent = `curl -F image=@FILE ${address}`;
input.addEventListener("change", () => { show(input.files); input.value = ""; });
document.addEventListener("paste", (event) => show(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  show(event.dataTransfer.files);
});

function show(files) {
  for (const file of [...files]) {
    const article = document.getElementById("result").content.cloneNode(true).firstElementChild;
    article.querySelector("h3").textContent = file.name;
    const image = article.querySelector("img");
    image.addEventListener("error", () => image.removeAttribute("src")); // a format that only the service can read
    image.src = URL.createObjectURL(file);
    results.prepend(article);
    last = last.then(() => answer(article, file));
  }
}

async function answer(article, file) {
  article.setAttribute("aria-busy", "true");
  try {
    if (file.size > maxBody) throw new Error(`The file is larger than ${maxBody} bytes, the most that is taken.`);
    const headers = { "Content-Type": file.type || "application/octet-stream" };
    const response = await fetch(`${address}?top=5`, { method: "POST", headers, body: file });
    const said = await response.json();
    if (!response.ok) throw new Error(said.error);
    article.querySelector("ol").append(...said[0].classes.map(row));
  } catch (error) {
    const line = article.querySelector("p");
    line.textContent = error.message;
    line.hidden = false;
  }
  article.removeAttribute("aria-busy");
}

function row({ name, probability }) {
  const item = document.createElement("li");
  const label = item.appendChild(document.createElement("span"));
  const share = item.appendChild(document.createElement("b"));
  const bar = item.appendChild(document.createElement("meter"));
  label.textContent = name;
  share.textContent = `${(100 * probability).toFixed(1)} %`;
  bar.value = probability;
  return item;
}
