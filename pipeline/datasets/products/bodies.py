"""Products of boards, bars and blocks: chair, table, carton, toy car, shoe.

As in `vessels`: each function samples one instance that stands on y = 0.
"""

import numpy as np

from pipeline.datasets.products.patterns import draw_label, draw_print
from pipeline.datasets.products.portable import cos, sin
from pipeline.datasets.products.rays import Reals
from pipeline.datasets.products.scene import Material, Part
from pipeline.datasets.products.solids import Lathe, Polyhedron, Tube, box
from pipeline.datasets.products.vessels import WHITE

QUARTER_TURN = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)  # y to z: wheels
DOME = Lathe(((0, 0), *((float(cos(a)), float(sin(a))) for a in np.linspace(0, 1.5, 6)), (0, 1)))
BLACK = np.array([0.03, 0.03, 0.035], np.float32)


def make_chair(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A chair: seat, legs that may splay, a back of slats, bars or one board, some with arms."""
    half, seat, top = rng.uniform(0.38, 0.5), rng.uniform(0.6, 0.85), rng.uniform(1.35, 1.8)
    frame = Material(colors[3], gloss=0.3)
    cover = Material(colors[0], draw_print(rng, colors[:3]), 0.15)
    thick = rng.uniform(0.06, 0.16)
    parts = [Part(box((-half, seat, -half), (half, seat + thick, half)), cover)]
    parts += _legs(rng, half - 0.05, seat, frame)
    lean, bar = rng.uniform(0.0, 0.2), rng.uniform(0.035, 0.055)
    for side in (-1, 1):
        post = ((-half + 0.04, seat, side * (half - 0.05)),
                (-half + 0.04 - lean, top, side * (half - 0.05)))  # fmt: skip
        parts.append(Part(Tube(post, bar), frame))
    style = rng.integers(3)
    if style == 0:
        low = rng.uniform(0.2, 0.5) * (top - seat) + seat
        back = box((-half - lean * 0.7, low, -half), (-half - lean * 0.7 + 0.08, top, half))
        parts.append(Part(back, cover))
    else:
        count = int(rng.integers(2, 5))
        for share in np.linspace(0.3 if style == 1 else -0.7, 1 if style == 1 else 0.7, count):
            parts.append(Part(_rail(style == 1, float(share), half, seat, top, lean), frame))
    if rng.random() < 0.3:
        rest = seat + rng.uniform(0.25, 0.4)
        for edge in (-half, half):
            arm = ((-half, rest, edge), (half, rest, edge), (half, seat, edge))
            parts.append(Part(Tube(arm, 0.045), frame))
    return parts


def make_table(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A table: round or square top, four legs or one pedestal, some with a shelf."""
    height, half, thick = rng.uniform(0.6, 1.1), rng.uniform(0.6, 0.85), rng.uniform(0.05, 0.13)
    deep = half * rng.uniform(0.6, 1)
    wood = Material(colors[rng.choice([0, 3])], gloss=0.3)
    cover = Material(colors[rng.choice([0, 1])], draw_print(rng, colors[:3]), 0.4)
    if rng.random() < 0.5:
        disc = Lathe(((0, 0), (half, 0), (half, thick), (0, thick)))
        parts = [Part(disc, cover, (0, height, 0))]
        reach = half * 0.65
    else:
        slab = box((-half, height, -deep), (half, height + thick, deep))
        parts, reach = [Part(slab, cover)], deep - 0.08
    if rng.random() < 0.35:
        wide = rng.uniform(0.25, 0.5)
        stem = ((0.0, 0.0), (wide, 0.0), (wide * 0.9, 0.06), (0.08, 0.15),
                (rng.uniform(0.06, 0.2), height * 0.6), (0.1, height), (0.0, height))  # fmt: skip
        return [*parts, Part(Lathe(stem), wood)]
    parts += _legs(rng, reach, height, wood)
    if rng.random() < 0.5:
        at = height * rng.uniform(0.2, 0.8)
        shelf = box((-reach, at, -reach), (reach, at + 0.05, reach))
        parts.append(Part(shelf, Material(colors[rng.choice([1, 2])])))
    return parts


def make_carton(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A printed carton: flat, cubic or tall, some with a gable and a screw cap."""
    half, deep = rng.uniform(0.35, 0.6), rng.uniform(0.2, 0.5)
    height = rng.uniform(0.6, 1.6)
    image = draw_label(rng, draw_print(rng, colors[:3]), WHITE, colors[3])
    material = Material(colors[rng.choice([0, 1])], image, 0.25)
    parts = [Part(box((-half, 0, -deep), (half, height, deep)), material)]
    style = rng.random()
    if style < 0.4:
        rise = rng.uniform(0.2, 0.4)
        slope = rise / deep
        normals = ((1, 0, 0), (-1, 0, 0), (0, -1, 0), (0, 1, slope), (0, 1, -slope))
        offsets = (half, half, -height, height + rise, height + rise)
        low, high = (-half, height, -deep), (half, height + rise, deep)
        parts.append(Part(Polyhedron(normals, offsets, low, high), Material(colors[1])))
        fin = box((-half, height + rise - 0.05, -0.02), (half, height + rise + 0.12, 0.02))
        parts.append(Part(fin, Material(colors[0])))
    elif style < 0.7:
        cap = Lathe(((0, 0), (0.13, 0), (0.13, 0.14), (0, 0.14)))
        place = (half * rng.uniform(-0.5, 0.5), height, 0.0)
        parts.append(Part(cap, Material(colors[3]), place))
    return parts


def make_car(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A toy car: body, cab with windows, four wheels; length, nose and cab vary."""
    long, half = rng.uniform(0.75, 1.0), rng.uniform(0.33, 0.45)
    low, waist, roof = rng.uniform(0.1, 0.18), rng.uniform(0.38, 0.5), rng.uniform(0.68, 0.95)
    nose, tail = rng.uniform(0.1, 0.6, 2)
    paint = Material(colors[0], draw_print(rng, colors[[0, 1, 2]]), 0.9)
    body = _wedge(-long, long, low, waist, half, rear=0.15, front=0.25)
    start, end = -long * rng.uniform(0.35, 0.95), long * rng.uniform(0.1, 0.6)
    glass = Material(np.array([0.05, 0.08, 0.11], np.float32), gloss=1.0)
    cab = _wedge(start, end, waist, roof, half * 0.88, rear=float(tail), front=float(nose))
    inset = 0.12 * (roof - waist)
    top = box((start + tail * (roof - waist), roof - inset, -half * 0.9),
              (end - nose * (roof - waist), roof + 0.04, half * 0.9))  # fmt: skip
    second = Material(colors[rng.choice([0, 0, 1])], gloss=0.8)
    parts = [Part(body, paint), Part(cab, glass), Part(top, second)]
    wheel, thick = rng.uniform(0.17, 0.26), 0.14
    hub = rng.uniform(0.35, 0.7)
    rubber = Lathe(((0, 0), (wheel, 0), (wheel, thick), (0, thick)))
    rim = Lathe(((0, -0.02), (wheel * hub, -0.02), (wheel * hub, thick + 0.02), (0, thick + 0.02)))
    for along in (-long * 0.6, long * 0.6):
        for side in (-half - 0.03, half + 0.03 - thick):
            place = (along, float(wheel), float(side))
            parts.append(Part(rubber, Material(BLACK, gloss=0.2), place, QUARTER_TURN))
            parts.append(Part(rim, Material(colors[3], gloss=0.7), place, QUARTER_TURN))
    return parts


def make_shoe(rng: np.random.Generator, colors: Reals) -> list[Part]:
    """A shoe or a boot: sole, toe, heel, shaft and laces."""
    long, wide, sole = rng.uniform(0.8, 1.0), rng.uniform(0.28, 0.36), rng.uniform(0.06, 0.18)
    upper = Material(colors[0], draw_print(rng, colors[:3]), rng.uniform(0.1, 0.6))
    other = Material(colors[rng.choice([0, 1, 3])], gloss=0.3)
    stretch = np.diag([long, 1, wide * 1.1]).astype(np.float32)
    disc = Lathe(((0, 0), (0.97, 0), (1, sole * 0.5), (0.98, sole), (0, sole)))
    toe = np.diag([long * 0.62, rng.uniform(0.22, 0.34), wide]).astype(np.float32)
    heel = np.diag([long * 0.45, rng.uniform(0.4, 0.6), wide * 0.88]).astype(np.float32)
    high, ankle = rng.uniform(0.5, 1.2), rng.uniform(0.24, 0.3)
    shaft = Lathe(((0, 0.05), (ankle, 0.05), (ankle * 1.05, high), (ankle * 0.85, high),
                   (ankle * 0.8, high - 0.15), (0, high - 0.15)))  # fmt: skip
    back = -long * 0.48
    parts = [
        Part(disc, Material(colors[3], gloss=0.2), axes=stretch),
        Part(DOME, other, (long * 0.33, sole * 0.8, 0), toe),
        Part(DOME, upper, (back + 0.05, sole * 0.8, 0), heel),
        Part(shaft, upper, (back + 0.02, sole * 0.8, 0), np.diag([1.25, 1, 1]).astype(np.float32)),
    ]
    for number in range(int(rng.integers(0, 5))):
        x = back + 0.45 + number * 0.11
        y = sole * 0.8 + 0.43 - number * 0.06
        lace = ((x, y - 0.05, -wide * 0.5), (x + 0.02, y + 0.02, 0.0), (x, y - 0.05, wide * 0.5))
        parts.append(Part(Tube(lace, 0.028), Material(colors[2], gloss=0.1)))
    return parts


def _legs(rng: np.random.Generator, reach: float, height: float, look: Material) -> list[Part]:
    """Return four legs, some splayed, some tapered to a round bar, some square."""
    splay, thick, square = rng.uniform(0.8, 1.15), rng.uniform(0.03, 0.06), rng.random() < 0.4
    parts = []
    for x in (-reach, reach):
        for z in (-reach, reach):
            if square:
                solid = box((x - thick, 0, z - thick), (x + thick, height, z + thick))
                parts.append(Part(solid, look))
            else:
                path = ((x * splay, float(thick), z * splay), (x, height, z))
                parts.append(Part(Tube(path, thick), look))
    return parts


def _rail(across: bool, share: float, half: float, seat: float, top: float, lean: float) -> Tube:
    """Return a bar of a chair's back: across it, or upright."""
    if across:
        x, y = -half + 0.04 - lean * share, seat + (top - seat) * share
        return Tube(((x, y, -half + 0.05), (x, y, half - 0.05)), 0.05)
    z = share * (half - 0.05)
    return Tube(((-half + 0.04, seat, z), (-half + 0.04 - lean, top, z)), 0.035)


def _wedge(
    left: float, right: float, low: float, high: float, half: float, *, rear: float, front: float
) -> Polyhedron:
    """Return a block whose two ends lean inwards by `rear` and `front` a unit of height."""
    normals = ((1, front, 0), (-1, rear, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
    offsets = (right + front * low, -left + rear * low, high, -low, half, half)
    return Polyhedron(normals, offsets, (left, low, -half), (right, high, half))
