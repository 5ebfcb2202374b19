"""Calls an agent with boto3 and prints its answer as it comes.

    python3 boto3_client.py ARN "2X5" [SESSION]
"""

import json
import sys
import uuid

import boto3
from botocore.config import Config

agent_arn, prompt, *session = sys.argv[1:]
session_id = session[0] if session else str(uuid.uuid4())

# An answer may take longer than boto3's 60 s, and repeating the call would ask the agent twice.
client = boto3.client("bedrock-agentcore", config=Config(read_timeout=900, retries={"max_attempts": 0}))
response = client.invoke_agent_runtime(
    agentRuntimeArn=agent_arn,
    qualifier="DEFAULT",
    runtimeSessionId=session_id,  # 33 characters or more
    contentType="application/json",
    accept="text/event-stream, application/json",
    payload=json.dumps({"prompt": prompt, "user_id": "1"}),
)
if "text/event-stream" in response["contentType"]:
    for line in response["response"].iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            event = json.loads(line[len(b"data: ") :])
            print(event if isinstance(event, str) else f"\n{event}", end="", flush=True)
    print()
else:
    print(json.loads(response["response"].read()))
print("session:", session_id, file=sys.stderr)
