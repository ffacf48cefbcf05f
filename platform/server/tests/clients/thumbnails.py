"""Uploads images by boto3 to a platform that is killed now and then, and looks at the thumbnails.

    thumbnails.py READY upload COUNT     uploads so many to the bucket `uploads`, each until it is taken; prints one line of JSON
                                         for each, with what its row is to say
    thumbnails.py READY check KEY...     whether the bucket `thumbnails` has these, and they are PNGs
    thumbnails.py FOLDER make COUNT      writes so many to a folder instead, and prints the same

READY is the platform's ready file, which says where it is at present. The key is in the environment.
"""

import hashlib
import json
import pathlib
import struct
import sys
import time
import zlib

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# How long one image may take to be taken, kills and starts of the platform among it, in seconds.
PATIENCE_S = 120
CONFIG = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, connect_timeout=5, read_timeout=20)


def persistently(ready, call):
    """What the call returns once it succeeds; it is given a client of where the platform is."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with open(ready) as file:
                endpoint = "http://" + json.load(file)["s3"]
            return call(boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=CONFIG))
        except ClientError as error:
            # What the platform refuses, it would refuse again; what it fails at, it may do another time.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500 or time.monotonic() > deadline:
                raise
        except (BotoCoreError, OSError, ValueError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    lines = (b"\0" + bytes(range(3)) * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def images(count):
    """Keys and images, which are printed as their rows are to be once they are taken."""
    for number in range(count):
        width, height = 300 + number, 200 + number * 7 % 100
        key, data = f"image-{number:04}.png", png(width, height)
        yield key, data
        etag = hashlib.md5(data).hexdigest()
        row = {"key": key, "width": width, "height": height, "bytes": len(data), "etag": etag}
        print(json.dumps(row), flush=True)


def upload(ready, count):
    for key, data in images(count):
        persistently(ready, lambda s3: s3.put_object(Bucket="uploads", Key=key, Body=data))


def make(folder, count):
    for key, data in images(count):
        pathlib.Path(folder, key).write_bytes(data)


def check(ready, keys):
    for key in keys:
        body = persistently(ready, lambda s3: s3.get_object(Bucket="thumbnails", Key=key)["Body"].read())
        width, height = struct.unpack(">II", body[16:24])
        if not body.startswith(b"\x89PNG") or max(width, height) != 256:
            raise AssertionError(f"{key} is {width} x {height}")


def main():
    place, what, *arguments = sys.argv[1:]
    if what == "check":
        check(place, arguments)
    else:
        {"upload": upload, "make": make}[what](place, int(arguments[0]))


main()
