package lenient

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// The JSON of lists and of watch events is split by counting brackets, without recursion: Go's decoders refuse JSON
// that is nested more than 10,000 deep, and an object that is just within the limit would exceed it inside a list. The
// parts are not validated here; their decoders do that.

var errCut = errors.New("unexpected end of the JSON")

// after returns the index after the value that starts at raw[at], which is not a space.
func after(raw []byte, at int) (int, error) {
	depth := 0
	for i := at; i < len(raw); {
		switch raw[i] {
		case '"':
			end, err := afterString(raw, i)
			if err != nil || depth == 0 {
				return end, err
			}
			i = end
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i, nil // a number or word at the end of an object or array
			}
			if depth--; depth == 0 {
				return i + 1, nil
			}
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return i, nil
			}
		}
		i++
	}
	if depth > 0 {
		return 0, errCut
	}
	return len(raw), nil
}

func afterString(raw []byte, at int) (int, error) {
	for i := at + 1; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1, nil
		}
	}
	return 0, errCut
}

// elements calls each with the parts of an object or array, in order. The key is in quotes; it is nil for an array.
// Both arguments are slices of raw.
func elements(raw []byte, each func(key, value []byte)) error {
	i := space(raw, 0)
	if i == len(raw) || raw[i] != '{' && raw[i] != '[' {
		return fmt.Errorf("want a JSON object or array")
	}
	keyed := raw[i] == '{'
	for i = space(raw, i+1); i < len(raw); i = space(raw, i) {
		switch raw[i] {
		case '}', ']':
			return nil
		case ',':
			i++
			continue
		}
		var key []byte
		if keyed {
			end, err := after(raw, i)
			if err != nil {
				return err
			}
			key = raw[i:end]
			if i = space(raw, end); i == len(raw) || raw[i] != ':' {
				return fmt.Errorf("want a colon after %s", key)
			}
			if i = space(raw, i+1); i == len(raw) {
				return errCut
			}
		}
		end, err := after(raw, i)
		if err != nil {
			return err
		}
		if end == i {
			return fmt.Errorf("want a value at byte %d", i)
		}
		each(key, raw[i:end])
		i = end
	}
	return errCut
}

// field returns the last value of a field of an object, as decoders do; nil if it has none.
func field(raw []byte, name string) (found []byte, err error) {
	err = elements(raw, func(key, value []byte) {
		if string(key) == `"`+name+`"` {
			found = value
		}
	})
	return found, err
}

// without returns an object without a field.
func without(raw []byte, name string) ([]byte, error) {
	out := []byte{'{'}
	err := elements(raw, func(key, value []byte) {
		if string(key) == `"`+name+`"` {
			return
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, key...), ':'), value...)
	})
	return append(out, '}'), err
}

func space(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\n' || raw[i] == '\t' || raw[i] == '\r') {
		i++
	}
	return i
}

// next reads one object from a stream. It returns io.EOF at an end between objects, and io.ErrUnexpectedEOF at an end
// within one.
func next(r *bufio.Reader) ([]byte, error) {
	var out []byte
	depth, text := 0, false
	for {
		b, err := r.ReadByte()
		switch {
		case err == io.EOF && depth > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case depth == 0 && b != '{':
			if b != '\n' && b != ' ' && b != '\r' && b != '\t' {
				return nil, fmt.Errorf("want a JSON object from the watch, got %q", b)
			}
			continue
		}
		out = append(out, b)
		if text {
			switch b {
			case '\\':
				if b, err = r.ReadByte(); err != nil {
					return nil, io.ErrUnexpectedEOF
				}
				out = append(out, b)
			case '"':
				text = false
			}
			continue
		}
		switch b {
		case '"':
			text = true
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return out, nil
			}
		}
	}
}
