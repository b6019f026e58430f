"""Suffixes of files that are not read: images in other formats, and what is no image.

A file with any other suffix is looked into: `scan 12.03.2021` and `photo.jpg_large` are images.
"""

# `download` warns that these are missing. Camera raw begins as TIFF does.
OTHER_IMAGES = frozenset(
    (
        *(".eps", ".exr", ".hdr", ".ico", ".jp2", ".jxl", ".pbm", ".pcx", ".pdf", ".pgm", ".pnm"),
        *(".ppm", ".ps", ".psd", ".svg", ".tga", ".wmf", ".xcf"),
        *(".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".gpr", ".iiq", ".kdc", ".mef"),
        *(".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2"),
        *(".srf", ".srw", ".x3f"),
    )
)
# Texts and tables, programs, arrays and weights, archives, films and sound, unfinished downloads.
NO_IMAGES = frozenset(
    (
        *(".cfg", ".conf", ".csv", ".doc", ".docx", ".htm", ".html", ".ini", ".json", ".jsonl"),
        *(".log", ".md", ".ods", ".odt", ".rst", ".rtf", ".tex", ".toml", ".tsv", ".txt", ".xls"),
        *(".xlsx", ".xml", ".xmp", ".yaml", ".yml", ".aae", ".lnk", ".url"),
        *(".c", ".css", ".ipynb", ".js", ".m", ".py", ".pyc", ".sh"),
        *(".db", ".dvc", ".h5", ".hdf5", ".mat", ".npy", ".npz", ".onnx", ".parquet", ".pickle"),
        *(".pkl", ".pt", ".pth", ".safetensors", ".sqlite"),
        *(".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst"),
        *(".avi", ".m4a", ".m4v", ".mkv", ".mov", ".mp3", ".mp4", ".mpg", ".wav", ".webm"),
        *(".crdownload", ".download", ".part", ".tmp"),
    )
)
