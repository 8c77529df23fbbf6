"""What can go wrong in retrieval; every message is one sentence that a user can act on."""


class RetrievalError(Exception):
    """Base of all errors that a user can mend."""


class CorpusError(RetrievalError):
    """A corpus's files are missing, not in its layout, or its name is unknown."""


class DownloadError(CorpusError):
    """A corpus could not be downloaded, or its files are not the pinned ones."""


class WeightsMissingError(RetrievalError):
    """The weights of the image embedder are not there."""


class IndexMissingError(RetrievalError):
    """There is no index yet."""


class IndexBusyError(RetrievalError):
    """Another process is writing the index."""


class EmbedderMismatchError(RetrievalError):
    """The index was made by another embedder than the one that searches it."""


class ChromaUnreachableError(RetrievalError):
    """The Chroma server that the settings name does not answer."""


class DamagedShardError(RetrievalError):
    """A Parquet file of the index, which is the truth, cannot be read."""


class PictureError(RetrievalError):
    """A figure's image file is not there, is damaged or has too many pixels."""


class ArchiveError(RetrievalError):
    """An archive is no exported index, or not the one that its own list describes."""
