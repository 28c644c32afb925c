// The entry: which page the address names, and the way from one to the next.

import { AnswerPage } from "./answer_page.js";
import { AnswersPage, answersBeside } from "./answers_page.js";
import { ask } from "./ask.js";
import { make } from "./dom.js";
import { Gallery } from "./gallery.js";
import { PhotoPage } from "./photo_page.js";
import { RunPage } from "./run_page.js";
import { StorePage } from "./store_page.js";
import { TalkPage, Talking, turnAnswer, turnsWithWords } from "./talk.js";

const TABS = [
  ["photos", "Photos", ["photo"]],
  ["clips", "Clips", ["clip"]],
  ["tokenized", "Tokenized", ["output"]],
  ["answers", "Answers", ["answers", "talk"]],
  ["runs", "Runs", ["run"]],
  ["masks", "Masks", ["store"]],
];
const [main, tabs, where, steps] = ["main", "tabs", "where", "steps"].map((id) =>
  document.getElementById(id),
);
let [about, items, page, visit] = [null, [], null, 0];

/** Show what stands in the address behind "#". */
async function show() {
  const own = ++visit;
  page?.close();
  page = null;
  steps.replaceChildren();
  const [kind, number, answer] = location.hash.slice(1).split("/");
  try {
    const next =
      kind === "item"
        ? await itemPage(Number(number), answer === undefined ? null : Number(answer))
        : galleryPage(kind);
    if (own !== visit) return next.close();
    page = next;
    main.replaceChildren(page.element);
    window.scrollTo(0, 0);
  } catch (error) {
    if (own === visit)
      main.replaceChildren(make("p", { class: "notice", role: "alert" }, error.message));
  }
}

async function itemPage(number, answer) {
  const item = items[number];
  if (!item) throw new Error("There is no such thing here.");
  mark(
    TABS.find(([, , kinds]) => kinds.includes(item.kind)),
    item.name,
  );
  if (answer !== null) return answerPage(number, answer);
  const alike = items.filter((one) => one.kind === item.kind);
  stepThrough(
    alike.map((one) => `#item/${one.number}`),
    alike.indexOf(item),
  );
  const content = await ask(`items/${number}`);
  if (item.kind === "run") return new RunPage(content);
  if (item.kind === "answers") return new AnswersPage(content);
  if (item.kind === "talk") return new TalkPage(content);
  if (item.kind === "store") return new StorePage(content);
  const talking = about.talk && item.kind === "photo" ? new Talking(number) : null;
  const photo = new PhotoPage(content, talking?.element);
  if (talking) talking.page = photo;
  return photo;
}

/** The page of one answer of a run, or of one turn of a conversation. */
async function answerPage(number, place) {
  const content = await ask(`items/${number}`);
  const listed = content.kind === "talk" ? turnsWithWords(content) : answersBeside(content, place);
  stepThrough(
    listed.map((one) => `#item/${number}/${one}`),
    listed.indexOf(place),
  );
  const back = `#item/${number}`;
  if (content.kind === "talk") return new AnswerPage({ back, ...turnAnswer(content, place) });
  const path = `items/${number}/answers/${place}`;
  const answer = content.answers[place];
  return new AnswerPage({
    back,
    answer,
    attention: await ask(`${path}/attention`),
    sources: (picture) => (answer.pictured ? `${path}/image/${picture}` : null),
    missing: "the folder of the benchmark with --data",
  });
}

function galleryPage(name) {
  const tab = TABS.find(([key]) => key === name);
  mark(tab, "");
  const shown = tab ? items.filter((item) => tab[2].includes(item.kind)) : items;
  return new Gallery(shown, tab ? tab[1] : "All that you named");
}

/** Links to what comes before and after the one at a place of a list of addresses. */
function stepThrough(addresses, place) {
  if (addresses.length < 2) return;
  const link = (href, text, label) =>
    make(
      "a",
      {
        class: "step",
        href,
        "aria-label": label,
        "aria-disabled": href ? null : "true",
      },
      text,
    );
  steps.append(
    link(addresses[place - 1], "‹", "The one before"),
    make("span", {}, `${place + 1} / ${addresses.length}`),
    link(addresses[place + 1], "›", "The next one"),
  );
}

function mark(tab, name) {
  where.textContent = name;
  where.title = name;
  document.title = name ? `${name} · regiontok view` : "regiontok view";
  for (const link of tabs.children) {
    if (tab && link.dataset.tab === tab[0]) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function start() {
  try {
    about = await ask("about");
  } catch (error) {
    main.replaceChildren(make("p", { class: "notice", role: "alert" }, error.message));
    return;
  }
  items = about.items.map(([kind, name], number) => ({ kind, name, number }));
  const present = TABS.filter(([, , kinds]) => items.some((item) => kinds.includes(item.kind)));
  tabs.replaceChildren(
    ...(items.length > 1 ? present : []).map(([key, title]) =>
      make("a", { href: `#${key}`, "data-tab": key }, title),
    ),
  );
  if (items.length === 1 && !location.hash) history.replaceState(null, "", "#item/0");
  window.addEventListener("hashchange", show);
  show();
}

start();
