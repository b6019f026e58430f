"""The networks that embed images: backbones, pooling, heads, their weights and their inputs."""
