#!/bin/sh
# Calls an agent with curl: sh curl_client.sh AGENT "2X5" [SESSION]
# AGENT is a name or an ARN; SESSION has 33 characters or more.
set -eu
agent=$(printf %s "$1" | sed 's|/|%2F|g')
session=${3:-$(cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen)}
exec curl --no-buffer --fail-with-body --silent --show-error \
	"${AWS_ENDPOINT_URL_BEDROCK_AGENTCORE:-http://127.0.0.1:4765}/runtimes/$agent/invocations?qualifier=DEFAULT" \
	-H 'Content-Type: application/json' -H 'Accept: text/event-stream, application/json' \
	-H "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id: $session" \
	-d "{\"prompt\": \"$2\", \"user_id\": \"1\"}"
