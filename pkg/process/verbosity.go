package process

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
)

// mostVerbose is the highest verbosity of an agent's log. Above it, client-go logs the bodies of requests and
// responses, which may contain Secrets.
const mostVerbose = 7

// CapVerbosity lowers klog's parsed flags v and vmodule to a verbosity that logs no Secrets. capped reports whether it
// had to.
func CapVerbosity(flags *flag.FlagSet) (capped bool, err error) {
	for name, lower := range map[string]func(string) string{"v": lowered, "vmodule": loweredModules} {
		f := flags.Lookup(name)
		if f == nil {
			return false, fmt.Errorf("there is no flag --%s", name)
		}
		was := f.Value.String()
		is := lower(was)
		if is == was {
			continue
		}
		capped = true
		if err := f.Value.Set(is); err != nil {
			return capped, fmt.Errorf("--%s is %s: %w", name, is, err)
		}
	}
	return capped, nil
}

func lowered(level string) string {
	if n, err := strconv.Atoi(level); err == nil && n > mostVerbose {
		return strconv.Itoa(mostVerbose)
	}
	return level
}

// loweredModules lowers the levels in a list of pattern=level.
func loweredModules(list string) string {
	modules := strings.Split(list, ",")
	for i, module := range modules {
		if pattern, level, ok := strings.Cut(module, "="); ok {
			modules[i] = pattern + "=" + lowered(level)
		}
	}
	return strings.Join(modules, ",")
}
