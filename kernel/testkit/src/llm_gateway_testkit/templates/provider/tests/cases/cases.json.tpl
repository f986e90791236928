[
{
 "name": "goes to its exact address with its credential",
 "kind": "{{id}}",
 "settings": {
  "api_key": "k-1",
  "base_url": "http://acme.test/v1"
 },
 "request": {
  "type": "chat",
  "model": "m-1",
  "messages": [
   {
    "role": "user",
    "parts": [
     {
      "type": "text",
      "text": "Hi"
     }
    ],
    "text_only": true
   }
  ],
  "dialect": "openai.chat"
 },
 "upstream": {
  "method": "POST",
  "url": "http://acme.test/v1/chat/completions",
  "headers": {
   "authorization": "Bearer k-1"
  },
  "body": {
   "model": "m-1",
   "messages": [
    {
     "role": "user",
     "content": "Hi"
    }
   ]
  }
 },
 "reply": {
  "json": {
   "id": "c1",
   "object": "chat.completion",
   "created": 1795000000,
   "model": "m",
   "choices": [
    {
     "index": 0,
     "message": {
      "role": "assistant",
      "content": "Low"
     },
     "finish_reason": "stop"
    }
   ],
   "usage": {
    "prompt_tokens": 9,
    "completion_tokens": 2,
    "total_tokens": 11
   }
  }
 },
 "events": [
  {
   "type": "Started",
   "id": "c1",
   "model": "m",
   "created": 1795000000
  },
  {
   "type": "TextDelta",
   "text": "Low"
  },
  {
   "type": "Finished",
   "reason": "stop",
   "raw": "stop"
  },
  {
   "type": "UsageReport",
   "usage": {
    "input": 9,
    "output": 2
   }
  }
 ],
 "totals": {
  "input": 9,
  "output": 2
 }
},
{
 "name": "a stream with comments, usage last and its end mark",
 "kind": "{{id}}",
 "settings": {
  "api_key": "k-1",
  "base_url": "http://acme.test/v1"
 },
 "request": {
  "type": "chat",
  "model": "m-1",
  "messages": [
   {
    "role": "user",
    "parts": [
     {
      "type": "text",
      "text": "Hi"
     }
    ],
    "text_only": true
   }
  ],
  "dialect": "openai.chat",
  "stream": true
 },
 "upstream": {
  "body": {
   "model": "m-1",
   "messages": [
    {
     "role": "user",
     "content": "Hi"
    }
   ],
   "stream": true,
   "stream_options": {
    "include_usage": true
   }
  }
 },
 "reply": {
  "frames": [
   {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "m",
    "choices": [
     {
      "index": 0,
      "delta": {
       "role": "assistant",
       "content": ""
      },
      "finish_reason": null
     }
    ]
   },
   {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "m",
    "choices": [
     {
      "index": 0,
      "delta": {
       "content": "Low"
      },
      "finish_reason": null
     }
    ]
   },
   {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "m",
    "choices": [
     {
      "index": 0,
      "delta": {
       "content": " tide"
      },
      "finish_reason": null
     }
    ]
   },
   {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "m",
    "choices": [
     {
      "index": 0,
      "delta": {},
      "finish_reason": "stop"
     }
    ]
   },
   {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "m",
    "choices": [],
    "usage": {
     "prompt_tokens": 9,
     "completion_tokens": 2,
     "total_tokens": 11
    }
   },
   "[DONE]"
  ]
 },
 "events": [
  {
   "type": "Started",
   "id": "c1",
   "model": "m",
   "created": 1795000000
  },
  {
   "type": "TextDelta",
   "text": "Low"
  },
  {
   "type": "TextDelta",
   "text": " tide"
  },
  {
   "type": "Finished",
   "reason": "stop",
   "raw": "stop"
  },
  {
   "type": "UsageReport",
   "usage": {
    "input": 9,
    "output": 2
   }
  }
 ],
 "totals": {
  "input": 9,
  "output": 2
 }
},
{
 "name": "developer becomes system and the output's limit is max_tokens",
 "kind": "{{id}}",
 "settings": {
  "api_key": "k-1",
  "base_url": "http://acme.test/v1"
 },
 "request": {
  "type": "chat",
  "model": "m-1",
  "messages": [
   {
    "role": "developer",
    "parts": [
     {
      "type": "text",
      "text": "Be brief."
     }
    ],
    "text_only": true
   },
   {
    "role": "user",
    "parts": [
     {
      "type": "text",
      "text": "Hi"
     }
    ],
    "text_only": true
   }
  ],
  "dialect": "openai.chat",
  "params": {
   "max_tokens": 9
  }
 },
 "upstream": {
  "body": {
   "model": "m-1",
   "messages": [
    {
     "role": "system",
     "content": "Be brief."
    },
    {
     "role": "user",
     "content": "Hi"
    }
   ],
   "max_tokens": 9
  }
 },
 "reply": {
  "json": {
   "id": "c1",
   "object": "chat.completion",
   "created": 1795000000,
   "model": "m",
   "choices": [
    {
     "index": 0,
     "message": {
      "role": "assistant",
      "content": "Low"
     },
     "finish_reason": "stop"
    }
   ]
  }
 },
 "events": [
  {
   "type": "Started",
   "id": "c1",
   "model": "m",
   "created": 1795000000
  },
  {
   "type": "TextDelta",
   "text": "Low"
  },
  {
   "type": "Finished",
   "reason": "stop",
   "raw": "stop"
  }
 ]
},
{
 "name": "a call comes in pieces",
 "kind": "{{id}}",
 "settings": {
  "api_key": "k-1",
  "base_url": "http://acme.test/v1"
 },
 "request": {
  "type": "chat",
  "model": "m-1",
  "messages": [
   {
    "role": "user",
    "parts": [
     {
      "type": "text",
      "text": "Hi"
     }
    ],
    "text_only": true
   }
  ],
  "dialect": "openai.chat",
  "tools": [
   {
    "name": "get_tide",
    "parameters": {
     "type": "object",
     "properties": {
      "port": {
       "type": "string"
      }
     }
    }
   }
  ],
  "stream": true
 },
 "reply": {
  "frames": [
   {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "m",
    "choices": [
     {
      "index": 0,
      "delta": {
       "tool_calls": [
        {
         "index": 0,
         "id": "a",
         "type": "function",
         "function": {
          "name": "get_tide",
          "arguments": ""
         }
        }
       ]
      },
      "finish_reason": null
     }
    ]
   },
   {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "m",
    "choices": [
     {
      "index": 0,
      "delta": {
       "tool_calls": [
        {
         "index": 0,
         "function": {
          "arguments": "{}"
         }
        }
       ]
      },
      "finish_reason": null
     }
    ]
   },
   {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "m",
    "choices": [
     {
      "index": 0,
      "delta": {},
      "finish_reason": "tool_calls"
     }
    ]
   },
   "[DONE]"
  ]
 },
 "events": [
  {
   "type": "Started",
   "id": "c1",
   "model": "m",
   "created": 1795000000
  },
  {
   "type": "ToolCallDelta",
   "call": 0,
   "id": "a",
   "name": "get_tide"
  },
  {
   "type": "ToolCallDelta",
   "call": 0,
   "arguments": "{}"
  },
  {
   "type": "Finished",
   "reason": "tool_calls",
   "raw": "tool_calls"
  }
 ]
},
{
 "name": "429 waits as it is told",
 "kind": "{{id}}",
 "settings": {
  "api_key": "k-1",
  "base_url": "http://acme.test/v1"
 },
 "request": {
  "type": "chat",
  "model": "m-1",
  "messages": [
   {
    "role": "user",
    "parts": [
     {
      "type": "text",
      "text": "Hi"
     }
    ],
    "text_only": true
   }
  ],
  "dialect": "openai.chat"
 },
 "reply": {
  "status": 429,
  "headers": {
   "retry-after": "2"
  },
  "json": {
   "error": {
    "message": "slow down"
   }
  }
 },
 "failure": "rate_limited",
 "retry_after": 2.0
},
{
 "name": "an error inside a stream",
 "kind": "{{id}}",
 "settings": {
  "api_key": "k-1",
  "base_url": "http://acme.test/v1"
 },
 "request": {
  "type": "chat",
  "model": "m-1",
  "messages": [
   {
    "role": "user",
    "parts": [
     {
      "type": "text",
      "text": "Hi"
     }
    ],
    "text_only": true
   }
  ],
  "dialect": "openai.chat",
  "stream": true
 },
 "reply": {
  "frames": [
   {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "m",
    "choices": [
     {
      "index": 0,
      "delta": {
       "content": "Lo"
      },
      "finish_reason": null
     }
    ]
   },
   {
    "error": {
     "message": "broke",
     "code": "server_error"
    }
   }
  ]
 },
 "failure": "server_error"
}
]
