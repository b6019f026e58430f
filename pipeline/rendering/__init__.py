"""A small ray caster: solids, a camera, light and prints become an anti-aliased picture.

Plain numpy, one process, no thread: the same scene gives the same pixels wherever it is rendered.
The world is right-handed with y up; the ground is the plane y = 0; lengths are in scene units.
"""
