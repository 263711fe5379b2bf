import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.distill.teachers import Teacher, as_teacher, load_saved_teacher
from perfnet_tf.errors import InputError


def identity(inputs):
    return inputs


def test_logits_are_brought_into_the_students_order_by_name():
    teacher = Teacher(identity, "flow", ("run", "jump", "sit")).for_classes(
        "flow", ["sit", "run", "jump"]
    )
    np.testing.assert_array_equal(teacher.predict(tf.constant([[1.0, 2.0, 3.0]])), [[3, 1, 2]])
    assert teacher.classes == ("sit", "run", "jump")


def test_the_same_order_costs_nothing():
    teacher = Teacher(identity, "flow", ("run", "jump"))
    assert teacher.for_classes("flow", ["run", "jump"]) is teacher


def test_other_classes_are_refused_and_named():
    teacher = Teacher(identity, "pose", ("run", "jump", "swim"))
    with pytest.raises(InputError, match="'pose' lacks sit and has jump, swim besides"):
        teacher.for_classes("pose", ["run", "sit"])


def test_a_callable_is_named_by_its_stream():
    assert as_teacher("flow", identity).stream == "flow"
    with pytest.raises(InputError, match="'motion' does not say which stream"):
        as_teacher("motion", identity)
    with pytest.raises(InputError, match="Received for 'flow': 3"):
        as_teacher("flow", 3)


def test_a_module_is_called_in_inference_mode():
    class Module(tf.Module):
        stream = "rgb"

        def __call__(self, inputs, training=True):
            return inputs * (2.0 if training else 1.0)

    assert as_teacher("any", Module()).predict(tf.constant(3.0)).numpy() == 3.0


def test_a_folder_without_a_saved_model_is_told_in_one_line(tmp_path):
    with pytest.raises(InputError, match="No run and no SavedModel at"):
        load_saved_teacher(tmp_path)


def test_a_foreign_saved_model_is_told_apart(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "foreign"))
    with pytest.raises(InputError, match="not one of perfnet export"):
        load_saved_teacher(tmp_path / "foreign")
