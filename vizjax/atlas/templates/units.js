// A unit, or a direction, mask or photograph: pictures, numbers and recipe.
'use strict';

const showUnit = (data, unit, query) => {
  const images = data.images.filter((image) => String(image.unit) === unit);
  const path = [[data.name, address(data.name, null, query)]];
  const name = images.length ? called(data, unit) : unit;
  if (subject(data) !== 'layer') {
    path.push([name, address(data.name, unit, query)]);
  }
  view('unit', path);
  if (!images.length) {
    byId('unit').replaceChildren(
      el('p', {}, `There is no image of ${subject(data)} ${unit}, or not yet.`));
    return;
  }
  const most = images.filter((image) => !image.least);
  const least = images.filter((image) => image.least);
  const { examples } = data.units[unit];
  byId('unit').replaceChildren(
    neighbors(data, unit, query),
    el('h1', {}, path.map(([text]) => text).join(' / ')),
    el('p', { class: 'quiet' }, label(data, unit)),
    el('div', { class: 'groups' },
      group(data.subject ? 'Images' : 'Preferred images',
        most.map((image) => figure(data, image))),
      group('Minimized', least.map((image) => figure(data, image))),
      group('In photographs', photographs(examples, unit))),
    el('div', { class: images.length > 2 ? null : 'beside' },
      el('section', {}, el('h2', {}, 'Score by step'), curve(data, images)),
      el('section', {}, el('h2', {}, 'Numbers'),
        el('div', { class: 'wide' }, numbers(data, images, examples)))),
    ...(here.layer.command ? command(images[0]) : []),
    el('div', { class: 'beside' },
      el('section', {}, el('h2', {}, 'Recipe'), facts(site.config)),
      el('section', {}, el('h2', {}, 'Versions'), facts(site.versions))));
};

const group = (title, figures) => figures.length
  ? el('section', {}, el('h2', {}, title),
    el('div', { class: 'pictures' }, ...figures))
  : null;

const facts = (found) => table(Object.entries(found).map(([name, value]) =>
  [name, null, typeof value === 'string' ? value : JSON.stringify(value)]));

const neighbors = (data, unit, query) => {
  const units = [...new Set(chosen(data, query).map((image) => image.unit))];
  const at = units.findIndex((other) => String(other) === unit);
  const link = (other, text, rel) => other == null ? null
    : el('a', { rel, href: address(data.name, other, query) }, text(other));
  return el('p', { class: 'turn' },
    at > 0
      ? link(units[at - 1], (other) => `← ${called(data, other)}`, 'prev')
      : null,
    link(units[at + 1], (other) => `${called(data, other)} →`, 'next'));
};

// 'unit 3 of conv5', 'direction 3 of conv5', or the layer alone.
const worded = (data, unit) => data.subject === 'layer' ? data.name
  : `${data.units[unit].name ?? `unit ${unit}`} of ${data.name}`;

const figure = (data, image) => {
  const [h, w] = image.size;
  const times = Math.max(1, Math.floor(224 / Math.max(h, w)));
  const href = `${here.layer.folder}/${image.id}.png`;
  const src = data.contrast ? href.replace(/\.png$/, '_shown.png') : href;
  const value = image.values[column(data, 'activation')];
  return el('figure', { class: mark(data, image) },
    el('a', { href, title: 'its true pixels' }, el('img', { src, width: w * times,
      height: h * times, class: times > 1 ? 'small' : null,
      alt: `${worded(data, image.unit)}, #${image.replicate}` })),
    el('figcaption', {},
      image.finite ? `activation ${short(value)}`
        : el('span', { class: 'bad' }, 'the score is not a finite number'),
      el('br'),
      mark(data, image) === 'dead'
        ? el('span', { class: 'bad' }, 'dead: its gradient was zero') : null,
      el('small', {},
        `#${image.replicate}`,
        image.position ? ` at (${image.position.join(', ')})` : null,
        data.contrast ? el('br') : null,
        data.contrast ? 'contrast stretched; a click opens the true pixels'
          : null)));
};

const photographs = (examples, unit) => {
  if (!examples) return [];
  return examples.items.map(({ id, value, position, tile: [x, y, w, h] }) =>
    el('figure', {},
      el('span', { class: 'tile', role: 'img', 'aria-label': id,
        style: `width:${w}px;height:${h}px;` +
          `background-position:-${x}px -${y}px;background-image:` +
          `url("${here.layer.folder}/examples/${unit}.jpg")` }),
      el('figcaption', {}, `activation ${short(value)}`, el('br'),
        el('small', {}, `${id} at (${position.join(', ')})`))));
};

const numbers = (data, images, examples) => {
  const rows = data.fields.map(({ title, about }, i) =>
    [title, about, ...images.map((image) => image.values[i])]);
  if (images.length > 1) {
    rows.unshift(['', '', ...images.map(which)]);
  }
  const known = { maximum: 'Maximum', p99_9: '99.9th percentile',
    p99: '99th percentile', mean: 'Mean', deviation: 'Standard deviation' };
  for (const [name, title] of Object.entries(examples ? known : {})) {
    rows.push([`${title} of the data`, 'of all photographs', examples[name]]);
  }
  return table(rows);
};

const curve = (data, images) => {
  const [left, right, top, bottom] = [60, 632, 8, 150];
  const values = images.flatMap((image) => image.curve)
    .filter((value) => value != null);
  if (!values.length) return el('p', { class: 'quiet' }, 'no finite score');
  const [low, high] = [values.reduce((a, b) => Math.min(a, b)),
    values.reduce((a, b) => Math.max(a, b))];
  const last = Math.max(1, data.steps.at(-1));
  const x = (step) => left + (right - left) * step / last;
  const y = (value) =>
    bottom - (bottom - top) * (value - low) / ((high - low) || 1);
  const line = (image) => svg('polyline', { points: data.steps
    .map((step, i) => [step, image.curve[i]])
    .filter(([, value]) => value != null)
    .map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`)
    .join(' ') });
  const text = (words, at, height, anchor) =>
    svg('text', { x: at, y: height, 'text-anchor': anchor }, words);
  return svg('svg', { class: 'curve', viewBox: '0 0 640 172', role: 'img',
    'aria-label': `score by step, from ${low} to ${high}` },
  svg('line', { x1: left, x2: right, y1: bottom, y2: bottom }),
  svg('line', { x1: left, x2: left, y1: top, y2: bottom }),
  text(short(high), left - 6, top + 8, 'end'),
  text(short(low), left - 6, bottom, 'end'),
  text('0', left, bottom + 16, 'middle'),
  text(String(last), right, bottom + 16, 'end'),
  ...images.map(line));
};

const command = (image) => {
  const code = el('code', {}, here.layer.command + image.units);
  const copy = async ({ target }) => {
    getSelection().selectAllChildren(code); // where copying is not allowed
    await navigator.clipboard.writeText(code.textContent);
    target.textContent = 'copied';
  };
  return [
    el('h2', {}, 'To make it again'),
    el('div', { class: 'command' }, code,
      el('button', { type: 'button', click: copy }, 'copy')),
    el('p', { class: 'quiet' }, 'The config is ',
      el('a', { href: 'config.py' }, 'config.py'),
      ' of this site, with every field of the recipe.')];
};
