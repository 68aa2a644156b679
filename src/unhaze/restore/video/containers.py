"""Video files and containers: which are read, and which can be written. Does not need PyAV."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Container:
    """FFmpeg's name, and the codecs (of `codecs.CODECS`) that players expect in it.

    `sound`: FFmpeg's encoder for sound that it cannot hold as it is; `text`: its codec of
    subtitles; None if it holds none.
    """

    form: str
    codecs: tuple[str, ...]
    sound: str | None
    text: str | None


MP4 = Container("mp4", ("h264", "h265", "av1", "vp9"), "aac", "mov_text")
MPEG_TS = Container("mpegts", ("h264", "h265"), "aac", None)
# By the suffix of the target.
CONTAINERS = {
    ".mp4": MP4,
    ".m4v": MP4,
    ".mov": Container("mov", ("h264", "h265", "prores"), "aac", "mov_text"),
    ".mkv": Container(
        "matroska", ("h264", "h265", "av1", "vp9", "ffv1", "prores"), "aac", "subrip"
    ),
    ".webm": Container("webm", ("av1", "vp9"), "libopus", "webvtt"),
    ".ts": MPEG_TS,
    ".mts": MPEG_TS,
    ".m2ts": MPEG_TS,
    ".flv": Container("flv", ("h264",), "aac", None),
    ".y4m": Container("yuv4mpegpipe", ("rawvideo",), None, None),
}
TARGET_SUFFIXES = tuple(CONTAINERS)
# Suffixes of videos in folders; results of others become .mkv, which holds anything.
VIDEO_SUFFIXES = (*TARGET_SUFFIXES, ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".m2v")
VIDEO_SUFFIXES += (".mpeg", ".mpg", ".mxf", ".ogm", ".ogv", ".vob", ".wmv")
# Brands of MP4 and QuickTime files that are videos, not pictures.
VIDEO_BRANDS = (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"qt")
VIDEO_BRANDS += (b"M4V", b"M4VP", b"dash", b"3gp4", b"3gp5", b"3gp6", b"3g2a", b"XAVC", b"MSNV")

# FFmpeg's demuxers for `open_container`: those for uploads to a service, and all that hold a whole
# video. Those of playlists, which name other files and URLs, are in neither.
SERVICE_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
FILE_DEMUXERS = (
    SERVICE_DEMUXERS
    + ",mpegts,mpegtsraw,mpeg,mpegvideo,flv,live_flv,asf,ogg,mxf,mxf_opatom,gxf,nut,rm,dv,wtv,pva"
    ",ty,ivf,obu,av1,h264,hevc,vvc,m4v,h263,h261,vc1,vc1test,dirac,cavsvideo,mjpeg,yuv4mpegpipe"
    ",r3d,bink,smk,4xm,roq,ea,nuv,nsv,swf,film_cpk,lmlm4,mtv,mvi,xmv,vivo,viv,dxa,flic,gif,apng"
)
