"""Peer: the loop that everyone writes first, with `requests`; records as JSON lines.

requests_loop.py API_URL [--session]
"""

import json
import sys

import requests

STREAMS = {"characters": "character", "episodes": "episode", "locations": "location"}


def main() -> None:
    """Reads every page of every listing, one after the other."""
    api_url = sys.argv[1]
    get = requests.Session().get if "--session" in sys.argv else requests.get
    for stream, resource in STREAMS.items():
        number = pages = 1
        while number <= pages:
            response = get(f"{api_url}/{resource}", params={"page": number}, timeout=30)
            response.raise_for_status()
            answer = response.json()
            pages = answer["info"]["pages"]
            for record in answer["results"]:
                sys.stdout.write(json.dumps({"stream": stream, "record": record}) + "\n")
            number += 1


if __name__ == "__main__":
    main()
