// One page that shows what its address asks for:
//
//   #/                       the network and its layers
//   #/LAYER?sort=…&find=…    the units of a layer
//   #/LAYER/UNIT             all that is known of a unit, or of the direction,
//                            mask or photograph of that number
//
// Data come as scripts, which a page may read from a disk, too. They become
// text of the page and never HTML.
'use strict';

let site; // what data.js says
let here = {}; // what is shown: layer, unit, query
const layers = new Map(); // of names, promises of what layer.js says
const arrived = new Map(); // of names, how each promise is kept

window.atlas = {
  site(data) {
    site = data;
    start();
  },
  layer(data) {
    arrived.get(data.name)?.(data);
  },
};

const address = (layer, unit, query) => {
  const parts = [layer, unit].filter((part) => part != null);
  const search = String(query ?? '');
  return '#/' + parts.map(encodeURIComponent).join('/') +
    (search && '?' + search);
};

const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

// A layer's name may hold '/', encoded or not.
const asked = () => {
  const [path, search] = location.hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map(decoded);
  const query = new URLSearchParams(search);
  for (let n = Math.max(1, parts.length - 1); n <= parts.length; n++) {
    const name = parts.slice(0, n).join('/');
    const found = site.layers.find((layer) => layer.name === name);
    if (found?.done) return { layer: found, unit: parts[n], query };
  }
  return { query, wrong: parts.join('/') };
};

const load = (layer) => {
  if (!layers.has(layer.name)) {
    layers.set(layer.name, new Promise((resolve, reject) => {
      arrived.set(layer.name, resolve);
      const src = `${layer.folder}/layer.js`;
      const failed = () => {
        layers.delete(layer.name);
        reject(new Error(`${src} cannot be read`));
      };
      document.head.append(el('script', { src, error: failed }));
    }));
  }
  return layers.get(layer.name);
};

const route = () => {
  if (here.layer && !here.unit) grid.scroll = scrollY;
  const before = here;
  const now = (here = asked());
  byId('state').textContent = now.layer ? 'loading' : '';
  if (!now.layer) {
    view('index', []);
    byId('state').textContent =
      now.wrong ? `no images of ${now.wrong}` : '';
    return;
  }
  load(now.layer).then((data) => {
    if (now !== here) return; // another address meanwhile
    if (now.unit == null) showLayer(data, now.query, before);
    else showUnit(data, now.unit, now.query);
  }).catch((error) => {
    byId('state').textContent = error.message;
    throw error;
  });
};

const view = (name, path) => {
  for (const id of ['index', 'layer', 'unit']) byId(id).hidden = id !== name;
  const names = path.map(([text]) => text).reverse();
  document.title = [...names, site.title].join(' · ');
  const trail = [[site.title, '#/'], ...path];
  byId('path').replaceChildren(...trail.map(([text, href]) =>
    el('a', { href }, text)));
  byId('state').textContent = '';
  scrollTo(0, 0);
};

const arrows = (event) => {
  const [wide] = measure();
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide,
    ArrowDown: wide };
  if (!(event.key in moves)) return;
  const { id } = document.activeElement.dataset;
  const at = grid.items.findIndex((image) => image.id === id);
  const to = at < 0 ? 0 : at + moves[event.key];
  event.preventDefault();
  if (grid.items[to]) reveal(to);
};

const pressed = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !here.layer) return;
  const typing = event.target.matches('input, select');
  if (event.key === 'Escape') {
    if (typing) event.target.blur();
    else if (here.unit == null) location.hash = '#/';
    else location.hash = address(here.layer.name, null, here.query);
  } else if (typing) return;
  else if (here.unit == null) {
    if (event.key === '/' && byId('find')) {
      event.preventDefault();
      byId('find').select();
    } else if (byId('grid')) arrows(event);
  } else {
    const rel = { ArrowLeft: 'prev', ArrowRight: 'next' }[event.key];
    if (rel) byId('unit').querySelector(`[rel=${rel}]`)?.click();
  }
};

const remembered = (value) => {
  try { // a browser may keep nothing of a file
    if (value) localStorage.setItem('vizjax theme', value);
    return localStorage.getItem('vizjax theme');
  } catch {
    return value;
  }
};

const start = () => {
  const root = document.documentElement;
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const theme = remembered();
  if (theme) root.dataset.theme = theme;
  byId('theme').addEventListener('click', () => {
    const now = root.dataset.theme ?? (dark.matches ? 'dark' : 'light');
    root.dataset.theme = now === 'dark' ? 'light' : 'dark';
    remembered(root.dataset.theme);
  });
  history.scrollRestoration = 'manual';
  addEventListener('hashchange', route);
  addEventListener('scroll', () => place(false));
  addEventListener('resize', () => place(false));
  document.addEventListener('keydown', pressed);
  route();
};
