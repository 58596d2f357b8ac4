"""The exception for mistakes that a person, not an engineer, has to mend."""


class CourseError(Exception):
    """A mistake explained in one sentence that names what is wrong and the way out.

    IPython and the ``course`` command print the sentence alone, without a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]
