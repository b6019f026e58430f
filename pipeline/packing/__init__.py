"""From the files of a dataset, on disk or on the web, to packed and checked images."""
