package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const secret = "s3cr3t-key"

// call runs the program against an address, and returns what it said.
func call(t *testing.T, address string, names ...string) (int, string, string) {
	t.Helper()
	values := map[string]string{"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": secret}
	return callWith(values, names...)
}

func callWith(values map[string]string, names ...string) (int, string, string) {
	var out, errs bytes.Buffer
	getenv := func(name string) string { return values[name] }
	code := run(context.Background(), names, getenv, &out, &errs, 2500*time.Millisecond)
	return code, out.String(), errs.String()
}

// store answers HEAD and PUT of a bucket with the given statuses; a refusal has the given code.
func store(t *testing.T, head, put int, code string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := put
		if r.Method == http.MethodHead {
			status = head
		}
		w.WriteHeader(status)
		if r.Method == http.MethodPut && status != http.StatusOK {
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func expect(t *testing.T, wantCode int, want string, code int, text string) {
	t.Helper()
	if code != wantCode || !strings.Contains(text, want) {
		t.Errorf("got %d %q, want %d and %q", code, text, wantCode, want)
	}
	if strings.Contains(text, secret) {
		t.Errorf("the secret is in %q", text)
	}
}

func TestCreatesWhatIsAbsent(t *testing.T) {
	code, out, _ := call(t, store(t, 404, 200, ""), "lake", "airflow-logs")
	expect(t, done, "Bucket lake created.\nBucket airflow-logs created.\n", code, out)
}

func TestLeavesWhatIsThere(t *testing.T) {
	code, out, _ := call(t, store(t, 200, 500, ""), "lake")
	expect(t, done, "Bucket lake is there.\n", code, out)
}

func TestSaysWhoMadeItFirst(t *testing.T) {
	code, out, _ := call(t, store(t, 404, 409, "BucketAlreadyOwnedByYou"), "lake")
	expect(t, done, "Bucket lake is there.\n", code, out)
	code, _, errs := call(t, store(t, 403, 409, "BucketAlreadyExists"), "lake")
	expect(t, wrongCall, "belongs to someone else", code, errs)
}

func TestRefusals(t *testing.T) {
	for refusal, want := range map[string]string{
		"InvalidAccessKeyId":    "does not accept the credentials",
		"SignatureDoesNotMatch": "does not accept the credentials",
		"AccessDenied":          "may not create the bucket lake",
	} {
		code, out, errs := call(t, store(t, 403, 403, refusal), "lake")
		expect(t, wrongCall, want, code, errs)
		if out != "" || strings.Count(errs, "\n") != 1 {
			t.Errorf("more than one sentence: %q %q", out, errs)
		}
	}
}

func TestWaitsUntilTheStoreIsReady(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	code, out, _ := call(t, server.URL, "lake")
	expect(t, done, "Waiting for "+server.URL, code, out)
}

func TestGivesUpWithASentence(t *testing.T) {
	code, out, errs := call(t, "http://127.0.0.1:1", "lake")
	expect(t, failed, "http://127.0.0.1:1 is not ready", code, errs)
	expect(t, failed, "Waiting for http://127.0.0.1:1", code, out)
	if strings.Count(out, "\n") != 1 {
		t.Errorf("said it more than once: %q", out)
	}
}

func TestWrongCalls(t *testing.T) {
	for _, c := range []struct {
		values map[string]string
		names  []string
		want   string
	}{
		{nil, nil, "No bucket named"},
		{nil, []string{"Lake"}, `"Lake" is no bucket name`},
		{nil, []string{"a"}, `"a" is no bucket name`},
		{map[string]string{"AWS_ENDPOINT_URL": "minio:9000"}, []string{"lake"}, "AWS_ENDPOINT_URL must look like"},
		{map[string]string{"AWS_ENDPOINT_URL": "http://u:" + secret + "@minio"}, []string{"lake"}, "AWS_ENDPOINT_URL must look like"},
		{map[string]string{"AWS_SECRET_ACCESS_KEY": secret}, []string{"lake"}, "Only one of"},
	} {
		code, _, errs := callWith(c.values, c.names...)
		expect(t, wrongCall, c.want, code, errs)
	}
}

func TestHelp(t *testing.T) {
	code, out, _ := callWith(nil, "--help")
	expect(t, done, "Usage: bucket NAME...", code, out)
}
