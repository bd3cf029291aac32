package lenient

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestElements(t *testing.T) {
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for name, tc := range map[string]struct {
		raw  string
		want []string
		bad  bool
	}{
		"an empty object":       {raw: `{}`},
		"an empty array":        {raw: ` [ ] `},
		"values of every type":  {raw: `{"a":1,"b":"x","c":null,"d":[1,{"e":"}"}],"f":{"g":"]"}}`, want: []string{`"a"=1`, `"b"="x"`, `"c"=null`, `"d"=[1,{"e":"}"}]`, `"f"={"g":"]"}`}},
		"spaces":                {raw: "{ \"a\" :\n1 ,\"b\": [ 1 ] }", want: []string{`"a"=1`, `"b"=[ 1 ]`}},
		"quotes in text":        {raw: `["\"]","\\"]`, want: []string{`="\"]"`, `="\\"`}},
		"deeper than Go's":      {raw: `[` + deep + `,1]`, want: []string{`=` + deep, `=1`}},
		"cut short in text":     {raw: `{"a":"b`, bad: true},
		"cut short":             {raw: `[1,{`, bad: true},
		"neither of the two":    {raw: `1`, bad: true},
		"nothing":               {raw: ``, bad: true},
		"a field without value": {raw: `{"a"}`, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			err := elements([]byte(tc.raw), func(key, value []byte) { got = append(got, string(key)+"="+string(value)) })
			if (err != nil) != tc.bad {
				t.Fatalf("got error %v", err)
			}
			if !tc.bad && !slices.Equal(got, tc.want) {
				t.Error(cmp.Diff(tc.want, got))
			}
		})
	}
}

func TestWithout(t *testing.T) {
	got, err := without([]byte(`{"a":{"status":1}, "status" : {"x":[]},"b":"status"}`), "status")
	if err != nil || string(got) != `{"a":{"status":1},"b":"status"}` {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestNext(t *testing.T) {
	stream := bufio.NewReader(strings.NewReader("{\"a\":\"}{\\\"\"}\n{\"b\":[{}]}{\"c\":1}\n{\"d\":"))
	for _, want := range []string{`{"a":"}{\""}`, `{"b":[{}]}`, `{"c":1}`} {
		got, err := next(stream)
		if err != nil || string(got) != want {
			t.Fatalf("got %s, %v, want %s", got, err, want)
		}
	}
	if _, err := next(stream); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut short: %v", err)
	}
	if _, err := next(bufio.NewReader(strings.NewReader("\n"))); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}
