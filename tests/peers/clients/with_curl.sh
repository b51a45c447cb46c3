#!/bin/sh
# The job with curl. It keeps a connection only within one process, and polls in one only if it is told how often.
set -eu
job=$1 api=$2/v2/generate/video/kling/generation file=$3 polls=$4
post='{"model":"klingai/v2.5-turbo/pro/text-to-video","prompt":"A fox in the snow"}'
id=$(curl --silent --fail --cacert "$SSL_CERT_FILE" -H 'authorization: Bearer a-key' --json "$post" "$api" | sed 's/.*"id":"\([^"]*\)".*/\1/')
status=$(curl --silent --fail --cacert "$SSL_CERT_FILE" -H 'authorization: Bearer a-key' "$api?generation_id=$id&poll=[1-$polls]")
url=$(printf %s "$status" | sed -n 's/.*"url":"\([^"]*\)".*/\1/p')
case $job in
  save) curl --silent --fail --cacert "$SSL_CERT_FILE" --output "$file" "$url" ;;
  read) curl --silent --fail --cacert "$SSL_CERT_FILE" --output /dev/null "$url" ;;
esac
