"""`architecture_of`: networks told from names and shapes, and silence about all others."""

import pytest

from mindefense.models import MLP, architecture_of, vgg16
from mindefense.models.architecture import vgg16_sizes

VGG11 = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
VGG13 = (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
VGG19 = (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M")


def shapes_of(net):
    return {parameter.name: tuple(parameter.shape) for parameter in net.get_parameters()}


def vgg_shapes(plan, *, dense=((4096, 25_088), (4096, 4096), (1000, 4096))):
    shapes, channels, layer = {}, 3, 0
    for step in plan:
        if step == "M":
            layer += 1
            continue
        shapes |= {f"layers.{layer}.weight": (step, channels, 3, 3), f"layers.{layer + 1}.gamma": (step,)}
        channels, layer = step, layer + 3
    for level, shape in enumerate(dense):
        shapes |= {f"classifier.{3 * level}.weight": shape, f"classifier.{3 * level}.bias": shape[:1]}
    return shapes


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (
            vgg16(100, 32, width_multiplier=0.125),
            "VGG16 with batch normalization, image_size 32, 100 classes, width_multiplier 0.125",
        ),
        (
            vgg16(10, 224, width_multiplier=0.0625, batch_norm=False, dropout=0.5),
            "VGG16 without batch normalization, image_size 224, 10 classes, width_multiplier 0.0625",
        ),
        (
            vgg16(2, 64, width_multiplier=0.0625),
            "VGG16 with batch normalization, image_size 64, 2 classes, width_multiplier 0.0625",
        ),
        (MLP((446, 8, 30)), "MLP 446-8-30"),
        (MLP((6, 1)), "MLP 6-1"),
    ],
)
def test_networks_of_this_package(net, words):
    assert architecture_of(shapes_of(net)) == words


@pytest.mark.parametrize(("plan", "name"), [(VGG11, "VGG11"), (VGG13, "VGG13"), (VGG19, "VGG19")])
def test_the_other_vggs(plan, name):
    wanted = f"{name} with batch normalization, image_size 224, 1000 classes"
    assert architecture_of(vgg_shapes(plan)) == wanted


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"bias": (3,)},
        {"w": (3, 4)},
        {"conv.weight": (8, 3, 3, 3), "fc.weight": (10, 8)},
        {"a.weight": (3, 4), "b.weight": (2, 5)},
        {"norm.weight": (3,)},
        vgg_shapes((*VGG11, 512)),  # nine convolutions
        vgg_shapes(VGG11, dense=((10, 25_088),)),
        vgg_shapes(VGG11, dense=()),
        {f"features{name}": shape for name, shape in vgg_shapes(VGG11).items()},
    ],
)
def test_other_networks(shapes):
    assert architecture_of(shapes) is None


@pytest.mark.parametrize("prefix", ["", "network.", "model.backbone."])
def test_sizes_are_told_from_shapes_inside_another_cell_too(prefix):
    shapes = {f"{prefix}{name}": shape for name, shape in shapes_of(vgg16(10, 64, width_multiplier=0.125)).items()}
    assert vgg16_sizes(shapes) == {"image_size": 64, "width_multiplier": 0.125}
    assert architecture_of(shapes).startswith("VGG16 with batch normalization, image_size 64, 10 classes")


def test_no_sizes_of_another_network():
    assert vgg16_sizes(shapes_of(MLP((5, 4, 3)))) == {}
    assert vgg16_sizes(vgg_shapes(VGG13)) == {}
    assert vgg16_sizes({}) == {}
