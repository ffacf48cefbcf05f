#!/bin/sh
# Uploads images by the AWS CLI, one of them twice, and checks the rows and the thumbnails that come of them.
#
# It takes a platform that runs, the AWS CLI (`pip install awscli`) and Python 3. SKIFF says where `skiff` is, SKIFF_S3 where the
# platform's S3 endpoint is, THUMBNAILS a component that is built already.
set -eu
cd "$(dirname "$0")"
skiff=${SKIFF:-skiff}
patience_s=60

fail() {
  echo "try.sh: $*" >&2
  exit 1
}

# The field of what is printed as JSON, one field a line.
field() {
  sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p"
}

for program in aws python3; do
  command -v "$program" > /dev/null || fail "there is no $program on the PATH"
done

"$skiff" image push "${THUMBNAILS:-.}" --name thumbnails > /dev/null
"$skiff" apply -f thumbnails.yaml

key=$("$skiff" key create --role uploader --output json)
AWS_ACCESS_KEY_ID=$(printf '%s\n' "$key" | field id)
AWS_SECRET_ACCESS_KEY=$(printf '%s\n' "$key" | field secret)
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
export AWS_ENDPOINT_URL="${SKIFF_S3:-http://127.0.0.1:8082}" AWS_REGION=us-east-1
export AWS_PAGER="" AWS_CONFIG_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
folder=$(mktemp -d)
trap 'rm -rf "$folder"; "$skiff" key rm "$AWS_ACCESS_KEY_ID" > /dev/null 2>&1' EXIT

# Images of WIDTHxHEIGHT, as PNG.
python3 - "$folder" 1024x768 300x900 20x10 << 'END'
import pathlib, struct, sys, zlib

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

for size in sys.argv[2:]:
    width, height = map(int, size.split("x"))
    lines = b"".join(b"\0" + bytes(part for x in range(width) for part in (x % 256, y % 256, 128)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    pathlib.Path(sys.argv[1], size + ".png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
END
echo "no image" > "$folder/text.png"
echo "nobody asks for it" > "$folder/notes.txt"

aws s3 cp --quiet "$folder/20x10.png" s3://uploads/try/300x900.png
aws s3 cp --quiet --recursive "$folder" s3://uploads/try/
aws s3 ls s3://uploads/try/

# Waits until the row of a key says this.
await() {
  waited=0
  until row=$("$skiff" table get thumbnails "try/$1" 2> /dev/null) && printf '%s' "$row" | grep -q "$2"; do
    waited=$((waited + 1))
    [ "$waited" -le $((patience_s * 5)) ] || fail "the row of try/$1 does not say $2: ${row:-there is none}"
    sleep 0.2
  done
  echo "try/$1  $row"
}

for size in 1024x768 300x900 20x10; do
  await "$size.png" "\"width\":${size%x*},\"height\":${size#*x},"
  thumbnail=$(printf '%s' "$row" | sed 's/.*"thumbnail":"\([^"]*\)".*/\1/')
  aws s3 cp --quiet "s3://thumbnails/$thumbnail" "$folder/thumbnail.png" || fail "there is no $thumbnail"
  # The width and the height are the first numbers behind the head's name.
  side=$(od -A n -t u1 -j 16 -N 8 "$folder/thumbnail.png" | awk '{ w = $3 * 256 + $4; h = $7 * 256 + $8; print (w > h ? w : h) }')
  [ "$side" -le 256 ] || fail "$thumbnail is $side pixels long"
done
await text.png '"refused":'
if "$skiff" table get thumbnails try/notes.txt > /dev/null 2>&1; then
  fail "what is no image by its name has a row"
fi
echo "all is as it should be"
