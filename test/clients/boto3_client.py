"""Drives a server with an unmodified boto3, and says as JSON lines what it saw.

    boto3_client.py MODE ARN [ARGUMENT] [options]

stream ARN PROMPT   the streaming snippet of AWS's tutorial: {"prompt": PROMPT}, chunk by chunk
json   ARN PAYLOAD  send PAYLOAD as application/json, print the whole answer
big    ARN BYTES    send so many bytes to the echo agent, check length and SHA-256 of what it got
stop   ARN          stop the session of --session
command ARN LINE    run LINE in the session, for --timeout seconds at most

The server comes from AWS_ENDPOINT_URL_BEDROCK_AGENTCORE, credentials and
region from the environment. Lines on standard output:

    {"event": "response", "seconds", "statusCode", "contentType", "runtimeSessionId", "requestId"}
    {"event": "chunk", "seconds", "data"}            a line of an event stream, when it was there
    {"event": "stdout" | "stderr", "seconds", "data"}    what a command printed
    {"event": "exit", "seconds", "exitCode", "outcome"}  how it ended
    {"event": "end", "seconds", "bytes", "sha256"}   and "body" in the modes json and big
    {"event": "error", "seconds", "exception", "code", "status", "message", "requestId"}

Seconds count from just before the call. The exit code is 0 after "end", 1 after "error".
"""

import argparse
import hashlib
import json
import sys
import time
import traceback

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


class Run:
    """One call, and the lines it prints."""

    def __init__(self, args):
        self.args = args
        config = Config(read_timeout=900, parameter_validation=not args.no_validation)
        self.client = boto3.client("bedrock-agentcore", config=config)
        self.start = time.monotonic()

    def say(self, event, **fields):
        seconds = round(time.monotonic() - self.start, 4)
        print(json.dumps({"event": event, "seconds": seconds, **fields}), flush=True)

    def invoke(self, payload, **defaults):
        args = self.args
        optional = {
            "runtimeSessionId": args.session,
            "runtimeUserId": args.user,
            "contentType": args.content_type or defaults.get("contentType"),
            "accept": args.accept or defaults.get("accept"),
        }
        response = self.client.invoke_agent_runtime(
            agentRuntimeArn=args.arn,
            qualifier=args.qualifier,
            payload=payload,
            **{name: value for name, value in optional.items() if value is not None},
        )
        self.say("response", contentType=response.get("contentType"), **self.outcome(response))
        return response

    def outcome(self, response):
        return {
            "statusCode": response.get("statusCode"),
            "runtimeSessionId": response.get("runtimeSessionId"),
            "requestId": response["ResponseMetadata"].get("RequestId"),
        }

    def stream(self):
        response = self.invoke(json.dumps({"prompt": self.args.argument}).encode())
        if "text/event-stream" not in (response.get("contentType") or ""):
            raise ValueError(f"contentType is {response.get('contentType')!r}, not text/event-stream")
        size, digest = 0, hashlib.sha256()
        for line in response["response"].iter_lines(chunk_size=self.args.chunk_size):
            size += len(line)
            digest.update(line)
            if line.startswith(b"data: "):
                self.say("chunk", data=line[6:].decode("utf-8"))
        self.say("end", bytes=size, sha256=digest.hexdigest())  # of the lines, without their ends

    def json(self):
        payload = self.args.argument
        json.loads(payload)  # a typing mistake in a test is not the server's
        response = self.invoke(payload.encode(), contentType="application/json")
        self.end(response["response"].read())

    def big(self):
        payload = blob(int(self.args.argument))
        response = self.invoke(payload, contentType="application/octet-stream")
        answer = response["response"].read()
        got, want = json.loads(answer)["body"], {"length": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
        if got != want:
            raise ValueError(f"the agent got {got}, not {want}")
        self.end(answer)

    def stop(self):
        response = self.client.stop_runtime_session(
            agentRuntimeArn=self.args.arn, runtimeSessionId=self.args.session, qualifier=self.args.qualifier
        )
        self.say("response", contentType=None, **self.outcome(response))
        self.say("end", bytes=0, sha256=hashlib.sha256().hexdigest())

    def command(self):
        body = {"command": self.args.argument}
        if self.args.timeout is not None:
            body["timeout"] = self.args.timeout
        optional = {"runtimeSessionId": self.args.session} if self.args.session else {}
        response = self.client.invoke_agent_runtime_command(
            agentRuntimeArn=self.args.arn, qualifier=self.args.qualifier, body=body, **optional
        )
        self.say("response", contentType=response.get("contentType"), **self.outcome(response))
        for event in response["stream"]:
            chunk = event["chunk"]
            for name, text in chunk.get("contentDelta", {}).items():
                self.say(name, data=text)
            if "contentStop" in chunk:
                self.say("exit", exitCode=chunk["contentStop"]["exitCode"], outcome=chunk["contentStop"]["status"])

    def end(self, body):
        text = body.decode(errors="replace")
        self.say("end", bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), body=text)


def blob(size):
    """Bytes that no layer can compress or guess, the same at every run."""
    return hashlib.shake_128(b"isolde").digest(size)


def error(e):
    """The fields of an error line: what a program that catches e can see."""
    response = e.response if isinstance(e, ClientError) else {}
    return {
        "exception": type(e).__name__,
        "code": response.get("Error", {}).get("Code"),
        "status": response.get("ResponseMetadata", {}).get("HTTPStatusCode"),
        "message": response.get("Error", {}).get("Message") or str(e),
        "requestId": response.get("ResponseMetadata", {}).get("RequestId"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["stream", "json", "big", "stop", "command"])
    parser.add_argument("arn")
    parser.add_argument("argument", nargs="?")
    parser.add_argument("--session", help="runtimeSessionId; boto3 makes one up")
    parser.add_argument("--qualifier", default="DEFAULT")
    parser.add_argument("--user", help="runtimeUserId")
    parser.add_argument("--content-type")
    parser.add_argument("--accept")
    parser.add_argument("--chunk-size", type=int, default=1, help="of iter_lines; it waits until so many bytes came")
    parser.add_argument("--timeout", type=int, help="of a command, in seconds")
    parser.add_argument("--no-validation", action="store_true", help="let the server judge the parameters")
    args = parser.parse_args()
    if args.mode == "stop" and not args.session:
        parser.error("stop needs --session")
    if args.mode != "stop" and args.argument is None:
        parser.error(f"{args.mode} needs an argument")

    run = Run(args)
    try:
        getattr(run, args.mode)()
    except Exception as e:
        traceback.print_exc()
        run.say("error", **error(e))
        sys.exit(1)


if __name__ == "__main__":
    main()
