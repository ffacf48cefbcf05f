"""Operations of S3 by boto3 and by the `aws` CLI, each checked against what S3 documents.

    s3.py ENDPOINT [--only NAME]...

ENDPOINT is `http://ADDRESS:PORT`; the key is in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and may do everything in its
namespace. It makes buckets whose names begin with `s3-` and removes them again. Each operation is one below, in the order in which
they are run; it prints a line for each that held, and ends with the first that does not. Nothing waits for longer than its patience.
"""

import argparse
import base64
import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zlib
from datetime import datetime, timedelta, timezone

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

# How long one request or one command may take, in seconds.
PATIENCE_S = 60

BUCKET = "s3-operations"
OTHER = "s3-other"
PART = 5 << 20
OPERATIONS = []


def operation(function):
    OPERATIONS.append(function)
    return function


def equal(actual, expected):
    if actual != expected:
        raise AssertionError(f"{str(actual)[:2000]!r}, not {str(expected)[:2000]!r}")


def fails(code, status, call, *arguments, **keywords):
    """The call is refused by this code, with this status."""
    try:
        call(*arguments, **keywords)
    except ClientError as error:
        equal((error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]), (code, status))
        return error.response
    raise AssertionError(f"it was not refused with {code}")


def md5(data):
    return hashlib.md5(data).hexdigest()


class World:
    """The endpoint, and what operations leave to those after them."""

    def __init__(self, endpoint, folder):
        self.endpoint = endpoint
        self.s3 = self.client()
        self.folder = pathlib.Path(folder)
        self.upload = None
        self.etags = []

    def client(self, **options):
        style = {"addressing_style": "path"}
        settings = {"retries": {"max_attempts": 1}, "connect_timeout": PATIENCE_S, "read_timeout": PATIENCE_S}
        config = Config(s3=style, signature_version=options.pop("signature_version", "s3v4"), **settings, **options.pop("config", {}))
        options = {"region_name": "us-east-1"} | options
        return boto3.client("s3", endpoint_url=self.endpoint, config=config, **options)

    def aws(self, *arguments, fails=False):
        """What the `aws` CLI prints."""
        command = [sys.executable, "-m", "awscli", "--endpoint-url", self.endpoint, "--region", "us-east-1", *arguments]
        # In its oldest region the CLI presigns by version 2 unless it is told.
        config = self.file("aws.config", b"[default]\ns3 =\n    signature_version = s3v4\n")
        environment = os.environ | {"AWS_PAGER": "", "AWS_CONFIG_FILE": config, "AWS_EC2_METADATA_DISABLED": "true"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
        if (done.returncode != 0) != fails:
            raise AssertionError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def put(self, key, body=b"x", **more):
        return self.s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)

    def read(self, key, **more):
        return self.s3.get_object(Bucket=BUCKET, Key=key, **more)["Body"].read()

    def keys(self, **more):
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=BUCKET, **more).get("Contents", [])]

    def file(self, name, data):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    def fetch(self, url, data=None, method=None, headers=None):
        """The status and the body of what no client touches."""
        request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE_S) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


# Buckets.


@operation
def create_bucket(world):
    world.s3.create_bucket(Bucket=BUCKET)


@operation
def create_bucket_that_is_there(world):
    fails("BucketAlreadyOwnedByYou", 409, world.s3.create_bucket, Bucket=BUCKET)


@operation
def create_bucket_elsewhere(world):
    there = {"LocationConstraint": "eu-west-1"}
    fails("IllegalLocationConstraintException", 400, world.s3.create_bucket, Bucket=OTHER, CreateBucketConfiguration=there)


@operation
def list_buckets(world):
    answer = world.s3.list_buckets()
    equal(BUCKET in [bucket["Name"] for bucket in answer["Buckets"]], True)
    equal(all(bucket["CreationDate"].tzinfo is not None for bucket in answer["Buckets"]), True)


@operation
def head_bucket(world):
    equal(world.s3.head_bucket(Bucket=BUCKET)["ResponseMetadata"]["HTTPStatusCode"], 200)
    fails("404", 404, world.s3.head_bucket, Bucket="s3-nowhere")


@operation
def get_bucket_location(world):
    equal(world.s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"], None)


@operation
def get_bucket_versioning(world):
    equal("Status" in world.s3.get_bucket_versioning(Bucket=BUCKET), False)


@operation
def what_is_not_there_is_not_implemented(world):
    for call in [world.s3.get_bucket_policy, world.s3.get_bucket_lifecycle_configuration, world.s3.list_object_versions]:
        fails("NotImplemented", 501, call, Bucket=BUCKET)


# One object.


@operation
def put_object(world):
    equal(world.put("a", b"hello")["ETag"], f'"{md5(b"hello")}"')


@operation
def get_object(world):
    answer = world.s3.get_object(Bucket=BUCKET, Key="a")
    equal((answer["Body"].read(), answer["ContentLength"], answer["ETag"]), (b"hello", 5, f'"{md5(b"hello")}"'))
    equal(answer["ContentType"], "binary/octet-stream")
    equal(abs(datetime.now(timezone.utc) - answer["LastModified"]) < timedelta(minutes=5), True)


@operation
def get_object_that_is_not_there(world):
    fails("NoSuchKey", 404, world.s3.get_object, Bucket=BUCKET, Key="none")
    fails("NoSuchBucket", 404, world.s3.get_object, Bucket="s3-nowhere", Key="none")


@operation
def head_object(world):
    equal(world.s3.head_object(Bucket=BUCKET, Key="a")["ContentLength"], 5)
    fails("404", 404, world.s3.head_object, Bucket=BUCKET, Key="none")


@operation
def put_empty_object(world):
    world.put("empty", b"")
    equal(world.read("empty"), b"")


@operation
def put_object_from_a_stream(world):
    data = bytes(range(256)) * 4096
    world.put("stream", io.BytesIO(data))
    equal(md5(world.read("stream")), md5(data))


@operation
def overwrite_object(world):
    world.put("over", b"one")
    world.put("over", b"two")
    equal(world.read("over"), b"two")


@operation
def metadata_and_headers(world):
    said = {"ContentType": "text/plain", "CacheControl": "max-age=5", "ContentDisposition": "inline", "ContentLanguage": "de"}
    world.put("said", b"x", Metadata={"who": "me", "why": "because"}, **said)
    answer = world.s3.head_object(Bucket=BUCKET, Key="said")
    equal({name: answer[name] for name in said}, said)
    equal(answer["Metadata"], {"who": "me", "why": "because"})


@operation
def too_much_metadata(world):
    fails("MetadataTooLarge", 400, world.put, "much", Metadata={"n": "v" * 2048})


@operation
def overridden_headers(world):
    answer = world.s3.get_object(Bucket=BUCKET, Key="a", ResponseContentType="x/y", ResponseCacheControl="no-store")
    equal((answer["ContentType"], answer["CacheControl"]), ("x/y", "no-store"))


@operation
def range_of_an_object(world):
    answer = world.s3.get_object(Bucket=BUCKET, Key="a", Range="bytes=1-3")
    equal((answer["Body"].read(), answer["ContentRange"], answer["ContentLength"]), (b"ell", "bytes 1-3/5", 3))
    equal(answer["ResponseMetadata"]["HTTPStatusCode"], 206)


@operation
def range_at_the_end(world):
    equal((world.read("a", Range="bytes=-2"), world.read("a", Range="bytes=3-")), (b"lo", b"lo"))


@operation
def range_behind_the_end(world):
    fails("InvalidRange", 416, world.s3.get_object, Bucket=BUCKET, Key="a", Range="bytes=5-")


@operation
def get_if_match(world):
    etag = world.s3.head_object(Bucket=BUCKET, Key="a")["ETag"]
    equal(world.read("a", IfMatch=etag), b"hello")
    fails("PreconditionFailed", 412, world.s3.get_object, Bucket=BUCKET, Key="a", IfMatch='"x"')


@operation
def get_if_none_match(world):
    etag = world.s3.head_object(Bucket=BUCKET, Key="a")["ETag"]
    fails("304", 304, world.s3.get_object, Bucket=BUCKET, Key="a", IfNoneMatch=etag)
    equal(world.read("a", IfNoneMatch='"x"'), b"hello")


@operation
def get_if_modified_since(world):
    later = datetime.now(timezone.utc) + timedelta(days=1)
    fails("304", 304, world.s3.get_object, Bucket=BUCKET, Key="a", IfModifiedSince=later)
    fails("PreconditionFailed", 412, world.s3.get_object, Bucket=BUCKET, Key="a", IfUnmodifiedSince=later - timedelta(days=365))


@operation
def put_if_none_match(world):
    world.put("first", b"1", IfNoneMatch="*")
    fails("PreconditionFailed", 412, world.put, "first", b"2", IfNoneMatch="*")
    equal(world.read("first"), b"1")


@operation
def put_if_match(world):
    etag = world.put("match", b"1")["ETag"]
    fails("PreconditionFailed", 412, world.put, "match", b"2", IfMatch='"x"')
    world.put("match", b"2", IfMatch=etag)
    equal(world.read("match"), b"2")


@operation
def content_md5(world):
    right = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    world.put("md5", b"x", ContentMD5=right)
    fails("BadDigest", 400, world.put, "md5", b"y", ContentMD5=right)
    fails("InvalidDigest", 400, world.put, "md5", b"y", ContentMD5="eA==")


@operation
def checksums(world):
    data = b"123456789"
    right = {
        "ChecksumCRC32": base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode(),
        "ChecksumSHA1": base64.b64encode(hashlib.sha1(data).digest()).decode(),
        "ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
    }
    for name, value in right.items():
        equal(world.put("sums", data, **{name: value})[name], value)
        fails("BadDigest", 400, world.put, "sums", b"other", **{name: value})


@operation
def checksum_that_the_client_makes(world):
    answer = world.put("sums", b"123456789", ChecksumAlgorithm="CRC32")
    equal(answer["ChecksumCRC32"], base64.b64encode(zlib.crc32(b"123456789").to_bytes(4, "big")).decode())


@operation
def get_object_attributes(world):
    answer = world.s3.get_object_attributes(Bucket=BUCKET, Key="a", ObjectAttributes=["ETag", "ObjectSize"])
    equal((answer["ETag"].strip('"'), answer["ObjectSize"]), (md5(b"hello"), 5))


@operation
def odd_keys(world):
    keys = ["a b", "a+b", "a%2Fb", "ä/✓", "//x", "x//y", "x/", "a/../b", "a/./b", "a&b=c", "a?b#c", "'\"<>", "~", "\\"]
    for key in keys:
        world.put(f"odd/{key}", key.encode())
    for key in keys:
        equal(world.read(f"odd/{key}"), key.encode())
    equal(sorted(world.keys(Prefix="odd/")), sorted(f"odd/{key}" for key in keys))


@operation
def keys_that_are_too_long(world):
    world.put("k" * 1024)
    fails("KeyTooLongError", 400, world.put, "k" * 1025)


@operation
def what_is_asked_for_besides_is_refused(world):
    fails("AccessControlListNotSupported", 400, world.put, "acl", ACL="public-read")
    fails("NotImplemented", 501, world.put, "sse", ServerSideEncryption="AES256")
    fails("NotImplemented", 501, world.put, "tags", Tagging="a=b")
    fails("InvalidStorageClass", 400, world.put, "class", StorageClass="GLACIER")
    world.put("private", ACL="private", StorageClass="STANDARD")


# Copies and deletions.


@operation
def copy_object(world):
    world.put("from here", b"copied", Metadata={"n": "1"})
    answer = world.s3.copy_object(Bucket=BUCKET, Key="to", CopySource={"Bucket": BUCKET, "Key": "from here"})
    equal(answer["CopyObjectResult"]["ETag"], f'"{md5(b"copied")}"')
    equal(world.s3.head_object(Bucket=BUCKET, Key="to")["Metadata"], {"n": "1"})


@operation
def copy_object_with_other_metadata(world):
    source = {"Bucket": BUCKET, "Key": "to"}
    world.s3.copy_object(Bucket=BUCKET, Key="to", CopySource=source, MetadataDirective="REPLACE", Metadata={"m": "2"})
    equal(world.s3.head_object(Bucket=BUCKET, Key="to")["Metadata"], {"m": "2"})
    fails("InvalidRequest", 400, world.s3.copy_object, Bucket=BUCKET, Key="to", CopySource=source)


@operation
def copy_object_on_conditions(world):
    copy = {"Bucket": BUCKET, "Key": "no", "CopySource": {"Bucket": BUCKET, "Key": "to"}}
    fails("PreconditionFailed", 412, world.s3.copy_object, CopySourceIfMatch='"x"', **copy)
    etag = world.s3.head_object(Bucket=BUCKET, Key="to")["ETag"]
    fails("PreconditionFailed", 412, world.s3.copy_object, CopySourceIfNoneMatch=etag, **copy)
    fails("NoSuchKey", 404, world.s3.copy_object, Bucket=BUCKET, Key="no", CopySource={"Bucket": BUCKET, "Key": "none"})


@operation
def delete_object(world):
    world.put("gone")
    for _ in range(2):
        equal(world.s3.delete_object(Bucket=BUCKET, Key="gone")["ResponseMetadata"]["HTTPStatusCode"], 204)
    fails("404", 404, world.s3.head_object, Bucket=BUCKET, Key="gone")


@operation
def delete_objects(world):
    keys = [f"many/{number}" for number in range(30)]
    for key in keys:
        world.put(key)
    answer = world.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys + ["many/none"]]})
    equal([item["Key"] for item in answer["Deleted"]], keys + ["many/none"])
    equal((world.keys(Prefix="many/"), answer.get("Errors")), ([], None))


@operation
def delete_objects_quietly(world):
    world.put("quiet")
    answer = world.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "quiet"}], "Quiet": True})
    equal((answer.get("Deleted"), answer.get("Errors")), (None, None))


# Listings.


@operation
def list_objects_v2(world):
    for key in ["l/a", "l/b/1", "l/b/2", "l/c d", "l/e/1", "l/f"]:
        world.put(key, key.encode())
    answer = world.s3.list_objects_v2(Bucket=BUCKET, Prefix="l/", Delimiter="/")
    equal([item["Key"] for item in answer["Contents"]], ["l/a", "l/c d", "l/f"])
    equal([item["Prefix"] for item in answer["CommonPrefixes"]], ["l/b/", "l/e/"])
    equal((answer["KeyCount"], answer["IsTruncated"], answer["Name"], answer["Prefix"]), (5, False, BUCKET, "l/"))
    equal((answer["Contents"][0]["Size"], answer["Contents"][0]["ETag"]), (3, f'"{md5(b"l/a")}"'))


@operation
def list_objects_v2_by_pages(world):
    pages = world.s3.get_paginator("list_objects_v2")
    for size in range(1, 7):
        keys, prefixes = [], []
        for page in pages.paginate(Bucket=BUCKET, Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": size}):
            keys += [item["Key"] for item in page.get("Contents", [])]
            prefixes += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
        equal((keys, prefixes), (["l/a", "l/c d", "l/f"], ["l/b/", "l/e/"]))


@operation
def list_objects_v2_after(world):
    equal(world.keys(Prefix="l/", StartAfter="l/b/2"), ["l/c d", "l/e/1", "l/f"])
    equal(world.keys(Prefix="l/", MaxKeys=2), ["l/a", "l/b/1"])
    equal(world.keys(Prefix="nothing/"), [])
    answer = world.s3.list_objects_v2(Bucket=BUCKET, Prefix="l/a", FetchOwner=True)
    equal("ID" in answer["Contents"][0]["Owner"], True)


@operation
def list_objects(world):
    answer = world.s3.list_objects(Bucket=BUCKET, Prefix="l/", Delimiter="/", MaxKeys=2)
    equal(([item["Key"] for item in answer["Contents"]], answer["IsTruncated"]), (["l/a"], True))
    equal(([item["Prefix"] for item in answer["CommonPrefixes"]], answer["NextMarker"]), (["l/b/"], "l/b/"))
    rest = world.s3.list_objects(Bucket=BUCKET, Prefix="l/", Delimiter="/", Marker=answer["NextMarker"])
    equal([item["Key"] for item in rest["Contents"]], ["l/c d", "l/f"])


@operation
def list_objects_refused(world):
    fails("InvalidArgument", 400, world.s3.list_objects_v2, Bucket=BUCKET, ContinuationToken="no")
    fails("InvalidArgument", 400, world.s3.list_objects_v2, Bucket=BUCKET, MaxKeys=-1)
    fails("NoSuchBucket", 404, world.s3.list_objects_v2, Bucket="s3-nowhere")


# Uploads in parts.


@operation
def create_multipart_upload(world):
    answer = world.s3.create_multipart_upload(Bucket=BUCKET, Key="parts", ContentType="x/y", Metadata={"n": "1"})
    equal((answer["Bucket"], answer["Key"]), (BUCKET, "parts"))
    world.upload = {"Bucket": BUCKET, "Key": "parts", "UploadId": answer["UploadId"]}


@operation
def upload_part(world):
    for number, data in [(1, b"x" * PART), (2, b"end")]:
        etag = world.s3.upload_part(PartNumber=number, Body=data, **world.upload)["ETag"]
        equal(etag, f'"{md5(data)}"')
        world.etags.append(etag)
    fails("InvalidArgument", 400, world.s3.upload_part, PartNumber=10001, Body=b"x", **world.upload)


@operation
def upload_part_copy(world):
    source = {"Bucket": BUCKET, "Key": "a"}
    answer = world.s3.upload_part_copy(PartNumber=2, CopySource=source, CopySourceRange="bytes=1-3", **world.upload)
    world.etags[1] = answer["CopyPartResult"]["ETag"]
    equal(world.etags[1], f'"{md5(b"ell")}"')


@operation
def list_parts(world):
    answer = world.s3.list_parts(**world.upload)
    equal([(part["PartNumber"], part["Size"]) for part in answer["Parts"]], [(1, PART), (2, 3)])
    page = world.s3.list_parts(MaxParts=1, **world.upload)
    equal((page["IsTruncated"], page["NextPartNumberMarker"]), (True, 1))


@operation
def list_multipart_uploads(world):
    answer = world.s3.list_multipart_uploads(Bucket=BUCKET)
    equal([(upload["Key"], upload["UploadId"]) for upload in answer["Uploads"]], [("parts", world.upload["UploadId"])])


@operation
def complete_multipart_upload_refused(world):
    def complete(*parts):
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        world.s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **world.upload)

    one, two = world.etags
    fails("InvalidPartOrder", 400, complete, (2, two), (1, one))
    fails("InvalidPart", 400, complete, (1, two))
    fails("InvalidPart", 400, complete, (1, one), (3, two))


@operation
def complete_multipart_upload(world):
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(world.etags, 1)]
    answer = world.s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **world.upload)
    digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in world.etags)
    equal(answer["ETag"], f'"{md5(digests)}-2"')
    whole = world.s3.get_object(Bucket=BUCKET, Key="parts")
    equal((whole["ContentLength"], whole["ContentType"], whole["Metadata"]), (PART + 3, "x/y", {"n": "1"}))
    equal(whole["Body"].read().endswith(b"xell"), True)
    fails("NoSuchUpload", 404, world.s3.list_parts, **world.upload)


@operation
def abort_multipart_upload(world):
    begun = world.s3.create_multipart_upload(Bucket=BUCKET, Key="aborted")
    upload = {"Bucket": BUCKET, "Key": "aborted", "UploadId": begun["UploadId"]}
    world.s3.upload_part(PartNumber=1, Body=b"x", **upload)
    world.s3.abort_multipart_upload(**upload)
    fails("NoSuchUpload", 404, world.s3.upload_part, PartNumber=1, Body=b"x", **upload)
    equal("Uploads" in world.s3.list_multipart_uploads(Bucket=BUCKET), False)


@operation
def a_part_that_is_too_small(world):
    begun = world.s3.create_multipart_upload(Bucket=BUCKET, Key="small")
    upload = {"Bucket": BUCKET, "Key": "small", "UploadId": begun["UploadId"]}
    parts = []
    for number in [1, 2]:
        parts.append({"PartNumber": number, "ETag": world.s3.upload_part(PartNumber=number, Body=b"x", **upload)["ETag"]})
    fails("EntityTooSmall", 400, world.s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **upload)
    world.s3.abort_multipart_upload(**upload)


@operation
def managed_transfers(world):
    data = os.urandom(3 * PART + 17)
    transfer = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)
    world.s3.upload_fileobj(io.BytesIO(data), BUCKET, "managed", Config=transfer)
    got = io.BytesIO()
    world.s3.download_fileobj(BUCKET, "managed", got, Config=transfer)
    equal(md5(got.getvalue()), md5(data))
    equal(world.s3.head_object(Bucket=BUCKET, Key="managed")["ETag"].endswith('-4"'), True)


# Signatures.


@operation
def presigned_get(world):
    url = world.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "a"}, ExpiresIn=60)
    equal(world.fetch(url), (200, b"hello"))
    status, body = world.fetch(url.replace(f"/{BUCKET}/a", f"/{BUCKET}/empty"))
    equal((status, b"SignatureDoesNotMatch" in body), (403, True))
    equal(world.fetch(url, method="DELETE")[0], 403)


@operation
def presigned_put(world):
    url = world.s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "by url"}, ExpiresIn=60)
    # A header that urllib would add by itself is one that was not said either way.
    equal(world.fetch(url, data=b"by url", method="PUT", headers={"Content-Type": "text/plain"})[0], 200)
    equal(world.read("by url"), b"by url")
    status, body = world.fetch(url, data=b"", method="PUT", headers={"x-amz-copy-source": f"{BUCKET}/a"})
    equal((status, b"AccessDenied" in body), (403, True))
    equal(world.read("by url"), b"by url")


@operation
def presigned_for_too_long(world):
    url = world.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "a"}, ExpiresIn=604_801)
    status, body = world.fetch(url)
    equal((status, b"AuthorizationQueryParametersError" in body), (400, True))


@operation
def wrong_keys(world):
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    key = os.environ["AWS_ACCESS_KEY_ID"]
    wrong = world.client(aws_access_key_id=key, aws_secret_access_key=secret[::-1])
    fails("SignatureDoesNotMatch", 403, wrong.get_object, Bucket=BUCKET, Key="a")
    unknown = world.client(aws_access_key_id="SKIFNOBODY0000000000", aws_secret_access_key=secret)
    fails("InvalidAccessKeyId", 403, unknown.get_object, Bucket=BUCKET, Key="a")


@operation
def nobody(world):
    status, body = world.fetch(f"{world.endpoint}/{BUCKET}/a")
    equal((status, b"AccessDenied" in body), (403, True))


# The CLI.


@operation
def aws_mb_and_ls(world):
    equal("make_bucket: " + OTHER in world.aws("s3", "mb", f"s3://{OTHER}"), True)
    equal(all(name in world.aws("s3", "ls") for name in [BUCKET, OTHER]), True)


@operation
def aws_cp(world):
    path = world.file("up.txt", b"from a file")
    world.aws("s3", "cp", path, f"s3://{OTHER}/dir/up.txt")
    down = str(world.folder / "down.txt")
    world.aws("s3", "cp", f"s3://{OTHER}/dir/up.txt", down)
    equal(pathlib.Path(down).read_bytes(), b"from a file")
    head = world.s3.head_object(Bucket=OTHER, Key="dir/up.txt")
    equal(head["ContentType"], "text/plain")
    world.aws("s3", "cp", f"s3://{OTHER}/dir/up.txt", f"s3://{OTHER}/dir/copy.txt")
    equal(world.aws("s3", "ls", f"s3://{OTHER}/dir/").split()[3::4], ["copy.txt", "up.txt"])


@operation
def aws_cp_of_much(world):
    data = os.urandom(12 << 20)
    path = world.file("large", data)
    world.aws("s3", "cp", path, f"s3://{OTHER}/large", "--no-progress")
    world.aws("s3", "cp", f"s3://{OTHER}/large", path + ".back", "--no-progress")
    equal(md5(pathlib.Path(path + ".back").read_bytes()), md5(data))


@operation
def aws_sync(world):
    for name in ["a.txt", "b/c.txt", "b/d e.txt"]:
        world.file(f"tree/{name}", name.encode())
    world.aws("s3", "sync", str(world.folder / "tree"), f"s3://{OTHER}/tree")
    equal(world.aws("s3", "sync", str(world.folder / "tree"), f"s3://{OTHER}/tree").strip(), "")
    world.aws("s3", "sync", f"s3://{OTHER}/tree", str(world.folder / "back"))
    equal((world.folder / "back/b/d e.txt").read_bytes(), b"b/d e.txt")
    (world.folder / "tree/a.txt").unlink()
    equal("delete: " in world.aws("s3", "sync", "--delete", str(world.folder / "tree"), f"s3://{OTHER}/tree"), True)


@operation
def aws_mv_and_rm(world):
    world.aws("s3", "mv", f"s3://{OTHER}/dir/copy.txt", f"s3://{OTHER}/moved.txt")
    world.aws("s3", "rm", f"s3://{OTHER}/moved.txt")
    world.aws("s3", "rm", f"s3://{OTHER}/tree", "--recursive")
    equal(world.aws("s3", "ls", f"s3://{OTHER}", "--recursive").split()[3::4], ["dir/up.txt", "large"])


@operation
def aws_presign(world):
    url = world.aws("s3", "presign", f"s3://{OTHER}/dir/up.txt").strip()
    equal(world.fetch(url), (200, b"from a file"))


@operation
def aws_rb(world):
    equal("BucketNotEmpty" in world.aws("s3", "rb", f"s3://{OTHER}", fails=True), True)
    world.aws("s3", "rb", f"s3://{OTHER}", "--force")
    fails("404", 404, world.s3.head_bucket, Bucket=OTHER)


@operation
def delete_bucket(world):
    fails("BucketNotEmpty", 409, world.s3.delete_bucket, Bucket=BUCKET)
    for page in world.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        world.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": item["Key"]} for item in page["Contents"]]})
    world.s3.delete_bucket(Bucket=BUCKET)
    fails("NoSuchBucket", 404, world.s3.delete_bucket, Bucket=BUCKET)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("--only", action="append", default=[], help="an operation by its name; those that it needs are not run")
    arguments = parser.parse_args()
    wanted = [run for run in OPERATIONS if not arguments.only or run.__name__ in arguments.only]
    with tempfile.TemporaryDirectory(prefix="skiff-s3-") as folder:
        world = World(arguments.endpoint, folder)
        for run in wanted:
            try:
                run(world)
            except Exception as error:
                raise SystemExit(f"{run.__name__} does not hold: {type(error).__name__}: {error}") from error
            print(f"{run.__name__} holds", flush=True)
    print(f"{len(wanted)} operations hold")


if __name__ == "__main__":
    main()
