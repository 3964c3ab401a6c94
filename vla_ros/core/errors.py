"""The errors of the package. Each message is one sentence: what is wrong, where, what to do."""


class VlaError(Exception):
    """Base of every error that a user of this package can cause or cure."""


class ContractError(VlaError):
    """Data, a checkpoint or a node does not fit the declared observation and action fields."""


class PictureError(ContractError):
    """What a camera sent is no picture."""


class KinematicsError(VlaError):
    """A tool pose has no joint solution inside the limits."""


class SafetyError(VlaError):
    """A command or a measurement is not safe to act on."""


class StaleDataError(VlaError):
    """A stream has no sample recent enough for the asked time."""


class BagError(VlaError):
    """A recording cannot be written or read."""


class DatasetError(VlaError):
    """A dataset folder is missing, incomplete or of another layout."""


class CheckpointError(VlaError):
    """A checkpoint folder is missing, damaged or of another contract."""


class SceneError(VlaError):
    """The simulated scene cannot be built or rendered."""


class CameraError(VlaError):
    """A camera is absent, stalled or gives images of the wrong kind."""


class EpisodeError(VlaError):
    """An episode event or a recorder answer is malformed or out of order."""


class CalibrationError(VlaError):
    """A recording does not tell where a camera or the table is."""


class RunnerError(VlaError):
    """A policy failed in a way that nobody foresaw; the log has where."""


class RemoteError(VlaError):
    """A policy's server, or what goes to it and comes back, is not as it must be."""
