import toysites

from vizjax.atlas import diagram


def drawn(rows, made=('conv1',)):
  network = [
    diagram.Row(name, kind, tuple(inputs), tuple(shape))
    for name, kind, inputs, shape in rows
  ]
  return diagram.draw(network, set(made))


def test_a_network_is_drawn_from_the_image_down():
  found = drawn(toysites.NETWORK)
  boxes = {box.name: box for box in found.nodes}
  # The rectifier is part of conv1.
  names = [name for name, *_ in toysites.NETWORK if name != 'relu1']
  assert [*boxes] == ['image', *names]
  for name, _, inputs, _ in toysites.NETWORK[3:]:
    assert all(boxes[i].top < boxes[name].top for i in inputs)
  assert len(found.wires) == 8
  assert boxes['branch/1x1'].top == boxes['branch/reduce'].top
  assert boxes['conv1'].made and not boxes['fc'].made
  assert boxes['conv1'].size == '12 × 12 × 4'


def test_boxes_do_not_overlap_and_stand_in_the_picture():
  found = drawn(toysites.NETWORK)
  for box in found.nodes:
    assert 0 <= box.left and box.left + box.width <= found.width
    assert 0 <= box.top and box.top + box.height <= found.height
    for other in found.nodes:
      apart = abs(box.left - other.left) >= box.width
      assert box is other or apart or abs(box.top - other.top) >= box.height


def test_a_wire_that_passes_a_row_keeps_off_its_boxes():
  rows = [
    ['a', 'conv', ['data'], [1]],
    ['b', 'conv', ['a'], [1]],
    ['c', 'eltwise', ['a', 'b'], [1]],
  ]
  found = drawn(rows, 'abc')
  boxes = {box.name: box for box in found.nodes}
  (wire,) = [w for w in found.wires if w.count('C') == 2]
  x = float(wire.split('C')[1].split()[-1].split(',')[0])
  assert not boxes['b'].left <= x <= boxes['b'].left + boxes['b'].width


def test_a_layer_with_images_is_drawn_whatever_it_is():
  made = {box.name for box in drawn(toysites.NETWORK, ['relu1']).nodes}
  assert 'relu1' in made


def test_layers_alone_stand_below_each_other_without_wires():
  found = diagram.draw(diagram.column(['a', 'b/c']), {'a'})
  assert [box.name for box in found.nodes] == ['a', 'b/c']
  assert found.nodes[0].top < found.nodes[1].top and not found.wires
