"""A scene as a Rerun recording, for https://rerun.io's viewer; needs the extra `rerun-sdk`."""

from pathlib import Path

import numpy as np

from training.inspection.view_scene import Camera, Scene
from vla_ros.core.errors import DatasetError
from vla_ros.policy.pictures import jpeg_shape

TIMELINE = "time"
JPEG_QUALITY = 90


def save_recording(scene: Scene, out: Path) -> None:
    """Write pictures, streams, the tool's way and the cameras' places to the file `out`.

    Raises:
        DatasetError: rerun-sdk is not installed, or the file cannot be written.
    """
    try:
        import rerun as rr  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DatasetError(
            "--rerun needs rerun-sdk, which is not installed; "
            "pip install '.[rerun-sdk]' in the checkout, or leave --rerun away: the PNG needs "
            "nothing more"
        ) from None
    recording = rr.RecordingStream("vla_ros", recording_id=scene.title)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        recording.save(str(out))
    except (OSError, RuntimeError) as error:
        raise DatasetError(f"{out} cannot be written ({error}); give another --rerun") from None
    recording.log("episode", rr.TextDocument("\n".join([scene.title, *scene.facts])), static=True)
    for name, camera in scene.cameras.items():
        _log_camera(rr, recording, name, camera, scene)
    if scene.tool is not None:
        recording.log("arm", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        recording.log("arm/way", rr.LineStrips3D([scene.tool]), static=True)
        for time, point in zip(scene.frame_times_s, scene.tool, strict=True):
            recording.set_time(TIMELINE, duration=float(time))
            recording.log("arm/tool", rr.Points3D([point], radii=0.01))
    for panel in scene.panels:
        for at, line in enumerate(panel.lines):
            _log_line(rr, recording, f"{_entity(panel.title)}/{_line_name(line, at)}", line)
    for gap in scene.gaps:
        recording.set_time(TIMELINE, duration=gap.first_s)
        recording.log("gaps", rr.TextLog(f"no frame: {gap.count} {gap.reason}"))
    recording.flush()
    recording.disconnect()


def _log_camera(rr, recording, name: str, camera: Camera, scene: Scene) -> None:
    entity = f"arm/{name}"
    rows = np.unique(camera.frames)
    is_placed = False
    for row, data in zip(rows.tolist(), scene.read_pictures(name, rows), strict=True):
        recording.set_time(TIMELINE, duration=float(camera.times_s[row]))
        if isinstance(data, np.ndarray):
            size = data.shape[1], data.shape[0]
            image = rr.Image(data).compress(jpeg_quality=JPEG_QUALITY)
        elif data:
            shape = jpeg_shape(data)
            size = (shape[1], shape[0]) if shape else None
            kind = "image/jpeg" if shape else "image/png"
            image = rr.EncodedImage(contents=bytes(data), media_type=kind)
        else:
            continue
        recording.log(f"{entity}/picture", image)
        if not is_placed:
            is_placed = True
            _log_place(rr, recording, entity, camera, size)


def _log_place(rr, recording, entity: str, camera: Camera, size: tuple[int, int] | None) -> None:
    """Log the camera's pose and the way it projects; both are known for calibrated ones only."""
    if camera.T_base_camera is not None:
        T = camera.T_base_camera
        pose = rr.Transform3D(translation=T[:3, 3], mat3x3=T[:3, :3])
        recording.log(entity, pose, static=True)
    if camera.K is not None and size is not None:
        K = np.diag([*size, 1.0]) @ camera.K
        pinhole = rr.Pinhole(image_from_camera=K, resolution=size)
        recording.log(f"{entity}/picture", pinhole, static=True)


def _log_line(rr, recording, entity: str, line) -> None:
    finite = np.isfinite(line.values)
    times = rr.TimeColumn(TIMELINE, duration=line.times_s[finite])
    values = rr.Scalars.columns(scalars=line.values[finite])
    recording.send_columns(entity, indexes=[times], columns=values)


def _entity(title: str) -> str:
    """Return a title without its unit and remarks, which a path does not take."""
    return "plots/" + title.partition(" [")[0].partition(",")[0].replace(" ", "_")


def _line_name(line, at: int) -> str:
    name = (line.label or f"{at}").replace(" ", "_").replace(":", "")
    return f"{name}_commanded" if line.dashed else name
