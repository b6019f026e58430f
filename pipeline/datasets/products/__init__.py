"""The default dataset: products to buy, rendered from a seed by a small ray caster.

From the whole to its pieces: `products` (the dataset), `photograph` (viewpoint, light, clutter),
`vessels` and `bodies` (the products), `patterns` (what is printed on them), `render` (an image of a
scene), `scene` (parts and camera), `solids` (shapes), `rays` (where a ray meets a surface).
"""
