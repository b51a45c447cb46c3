"""The job with Python's requests."""

import os
import sys

import requests

job, origin, file = sys.argv[1:4]
session = requests.Session()
session.trust_env = False  # Otherwise each request looks for proxies and a netrc file.
session.verify = os.environ.get("SSL_CERT_FILE", True)
session.headers["authorization"] = "Bearer a-key"
api = f"{origin}/v2/generate/video/kling/generation"
body = {"model": "klingai/v2.5-turbo/pro/text-to-video", "prompt": "A fox in the snow"}
id = session.post(api, json=body).json()["id"]
while True:
    generation = session.get(api, params={"generation_id": id}).json()
    if generation["status"] == "completed":
        break
if job != "poll":
    del session.headers["authorization"]
    with session.get(generation["video"]["url"], stream=True) as response:
        with open(file if job == "save" else os.devnull, "wb") as output:
            for chunk in response.iter_content(64 * 1024):
                output.write(chunk)
