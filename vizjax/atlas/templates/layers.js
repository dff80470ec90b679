// A layer: its units in a grid, sorted, filtered and searched.
'use strict';

const grid = { data: null, items: [], cards: new Map(), range: '', scroll: 0 };

const column = (data, name) =>
  data.fields.findIndex((field) => field.name === name);

const label = (data, unit) => data.units[unit].label ?? '';

// What the images are of: 'unit', 'direction', 'mask', 'photograph', 'layer'.
const subject = (data) => data.subject ?? 'unit';

// The number of a unit; 'direction 3', or the name of a photograph or a layer.
const called = (data, unit) => data.units[unit].name ?? String(unit);

// The strongest image of each unit.
const firsts = (data) => {
  const at = column(data, 'activation');
  const worth = (image) =>
    image.least ? -Infinity : image.values[at] ?? -Number.MAX_VALUE;
  const found = new Map();
  for (const image of data.images) {
    const other = found.get(image.unit);
    if (!other || worth(image) > worth(other)) found.set(image.unit, image);
  }
  return [...found.values()];
};

const between = (query, name) => {
  const text = query.get(name);
  return text == null || text.trim() === '' ? NaN : Number(text);
};

const chosen = (data, query) => {
  let items = query.get('all') ? data.images : firsts(data);
  const find = (query.get('find') ?? '').trim().toLowerCase();
  if (find) {
    items = items.filter(({ unit }) => /^\d+$/.test(find)
      ? unit === Number(find)
      : (data.units[unit].name ?? label(data, unit)).toLowerCase()
        .includes(find));
  }
  const by = Math.max(0, column(data, query.get('by')));
  const [from, to] = [between(query, 'from'), between(query, 'to')];
  if (!isNaN(from) || !isNaN(to)) {
    items = items.filter(({ values: { [by]: value } }) =>
      value != null && !(value < from) && !(value > to));
  }
  return ordered(items, data, query);
};

const ordered = (items, data, query) => {
  const at = column(data, query.get('sort'));
  const sign = ascending(data, query) ? 1 : -1;
  const value = at < 0 ? (image) => image.unit : (image) => image.values[at];
  return [...items].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a == null || b == null) return (a == null) - (b == null);
    return sign * (a - b) || one.unit - other.unit;
  });
};

// Units count up, and numbers down, unless the address says else.
const ascending = (data, query) => query.has('order')
  ? query.get('order') === 'up'
  : column(data, query.get('sort')) < 0;

const tile = (layer, image) => {
  const [sheet, x, y, w, h] = image.tile;
  return el('span', {
    class: 'tile',
    style: `width:${w}px;height:${h}px;background-position:-${x}px -${y}px;` +
      `background-image:url("${layer.folder}/sheet${sheet}.jpg")`,
  });
};

const mark = (data, image) => {
  if (!image.finite) return 'nonfinite';
  return image.values[column(data, 'metric/dead')] === 1 ? 'dead' : '';
};

const which = (image) =>
  ` #${image.replicate}${image.least ? ' minimized' : ''}`;

const dressed = (image, query) => {
  const { data, cards } = grid;
  if (!cards.has(image.id)) cards.set(image.id, card(data, image));
  const found = cards.get(image.id);
  const at = Math.max(0, column(data, query.get('sort')));
  found.href = address(data.name, image.unit, query);
  found.querySelector('b').textContent =
    (data.subject ? '' : image.unit) + (query.has('all') ? which(image) : '');
  found.querySelector('.number').textContent =
    image.finite ? short(image.values[at]) : 'not finite';
  return found;
};

const card = (data, image) => {
  const { name } = data.units[image.unit];
  const known = label(data, image.unit);
  return el('a', {
    class: `card ${mark(data, image)}`,
    title: name ?? `${image.unit} ${known}`,
    'data-unit': image.unit,
    'data-id': image.id,
  },
  el('div', {}, tile(here.layer, image)),
  el('span', { class: 'line' },
    el('b'), el('span', { class: 'number' })),
  el('span', { class: 'quiet' }, name ?? known.split(',')[0]));
};

// Cards in a row, and pixels from row to row, as site.css has them.
const measure = () => {
  const wide = getComputedStyle(byId('grid')).gridTemplateColumns.split(' ');
  return [wide.length, byId('grid').matches('.labeled') ? 170 : 152];
};

// Only rows near the window are on the page: thousands stay smooth.
const place = (anew) => {
  if (byId('layer').hidden) return;
  const [wide, tall] = measure();
  const rows = Math.ceil(grid.items.length / wide);
  const top = -byId('grid').getBoundingClientRect().top;
  const row = (pixels) =>
    Math.min(rows, Math.max(0, Math.floor(pixels / tall)));
  const [first, last] = [row(top - 600), row(top + innerHeight + 600) + 1];
  const range = [wide, first, last].join();
  if (!anew && grid.range === range) return;
  grid.range = range;
  const focused = document.activeElement;
  byId('grid').style.paddingTop = `${first * tall}px`;
  byId('grid').style.paddingBottom = `${Math.max(0, rows - last) * tall}px`;
  byId('grid').replaceChildren(...grid.items
    .slice(first * wide, last * wide)
    .map((image) => dressed(image, here.query)));
  if (focused.matches('.card')) focused.focus({ preventScroll: true });
};

const reveal = (at) => {
  const [wide, tall] = measure();
  const head = byId('grid').getBoundingClientRect().top + scrollY;
  const y = head + Math.floor(at / wide) * tall;
  if (y < scrollY + 80) scrollTo(0, y - 80);
  if (y + tall > scrollY + innerHeight) scrollTo(0, y + tall - innerHeight);
  place();
  grid.cards.get(grid.items[at].id).focus({ preventScroll: true });
};

const showLayer = (data, query, before) => {
  if (grid.data !== data) build(data);
  view('layer', [[data.name, address(data.name)]]);
  for (const control of byId('layer').querySelectorAll('[name]')) {
    if (control.type === 'checkbox') control.checked = query.has('all');
    else control.value = query.get(control.name) ?? '';
  }
  if (byId('by').selectedIndex < 0) byId('by').selectedIndex = 0;
  arrange(query);
  const again = before.layer === here.layer && before.unit != null;
  if (!again) return;
  scrollTo(0, grid.scroll);
  place();
  const at = grid.items.findIndex(({ unit }) => String(unit) === before.unit);
  if (at >= 0) reveal(at);
};

const build = (data) => {
  const labeled = Object.values(data.units)
    .some((unit) => unit.name || unit.label);
  const several = data.images.length > Object.keys(data.units).length;
  grid.data = data;
  grid.cards.clear();
  const options = () => data.fields.map((field) =>
    el('option', { value: field.name, title: field.about }, field.title));
  byId('layer').replaceChildren(
    el('h1', {}, data.name),
    el('p', { class: 'quiet' }, `${data.done} of ${data.count} images done`,
      data.nonfinite ? ` · ${data.nonfinite} not a finite number` : '',
      data.dead ? ` · ${data.dead} dead` : '',
      data.contrast ? ' · contrast stretched' : '', ' · ',
      el('a', { href: `${here.layer.folder}/layer.json` }, 'JSON')),
    data.makers ? el('p', { class: 'quiet' }, data.makers) : '',
    el('form', { class: 'tools', role: 'search', input: read,
      submit: (event) => event.preventDefault() },
    el('label', {}, 'Find', el('input', { type: 'search', name: 'find',
      id: 'find', placeholder: 'number or label   /', autocomplete: 'off' })),
    el('label', {}, 'Sort by', el('select', { name: 'sort', id: 'sort' },
      el('option', { value: '' }, subject(data)[0].toUpperCase() +
        subject(data).slice(1)), ...options())),
    el('button', { type: 'button', id: 'order', click: turn }),
    el('label', {}, 'Only', el('select', { name: 'by', id: 'by' },
      ...options())),
    el('label', {}, 'from', el('input', { type: 'number', step: 'any',
      name: 'from', id: 'from' })),
    el('label', {}, 'to', el('input', { type: 'number', step: 'any',
      name: 'to', id: 'to' })),
    several ? el('label', {}, el('input', { type: 'checkbox', name: 'all',
      id: 'all' }), 'every image') : null),
    summary(data),
    el('div', { class: labeled ? 'grid labeled' : 'grid', id: 'grid' }));
};

const summary = (data) => {
  const kinds = [['', data.images.filter((image) => !image.least)],
    ['minimized, ', data.images.filter((image) => image.least)]]
    .filter(([, images]) => images.length);
  const head = kinds.flatMap(([kind]) =>
    ['lowest', 'median', 'mean', 'highest'].map((name) => kind + name));
  const rows = data.fields.map(({ title, about }, i) =>
    [title, about, ...kinds.flatMap(([, images]) => spread(images, i))]);
  return el('details', { class: 'tools' },
    el('summary', {}, 'Numbers of the layer'),
    el('div', { class: 'wide' }, table([['', '', ...head], ...rows])));
};

const spread = (images, i) => {
  const all = images.map((image) => image.values[i])
    .filter((value) => value != null).sort((a, b) => a - b);
  const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
  return [all[0], all[Math.floor(all.length / 2)], all.length ? mean : null,
    all.at(-1)];
};

// The address follows the controls.
const read = () => {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(byId('layer')
    .querySelector('form'))) {
    if (value !== '' && name !== 'by') query.set(name, name === 'all' ? 1 : value);
  }
  if (query.has('from') || query.has('to')) query.set('by', byId('by').value);
  if (here.query.has('order')) query.set('order', here.query.get('order'));
  change(query);
};

const turn = () => {
  const query = new URLSearchParams(here.query);
  const up = ascending(grid.data, query);
  query.set('order', up ? 'down' : 'up');
  change(query);
};

const change = (query) => {
  here = { ...here, query };
  history.replaceState(null, '', address(here.layer.name, null, query));
  arrange(query);
};

const arrange = (query) => {
  const { data } = grid;
  grid.items = chosen(data, query);
  place(true);
  const up = ascending(data, query);
  byId('order').textContent = up ? '↑ smallest first' : '↓ largest first';
  byId('state').textContent = `${grid.items.length} of ${query.has('all')
    ? `${data.images.length} images`
    : `${Object.keys(data.units).length} ${subject(data)}s`}`;
};
